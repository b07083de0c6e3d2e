// Generated from the Rust side (src/gpu/layout.rs, src/message/mod.rs). Do not edit:
// UPDATE_GOLDEN=1 cargo test -p gfm-pipe-kernels --lib gpu::layout
#pragma once

#include "messages/transe.cuh"
#include "messages/distmult.cuh"
#include "messages/rotate.cuh"

// Defines a kernel for every message function and element type.
#define FOR_MESSAGES(HOW, name, args, F) \
  FOR_MESSAGES_OF(HOW, name, args, F, TransE, transe) \
  FOR_MESSAGES_OF(HOW, name, args, F, DistMult, distmult) \
  FOR_MESSAGES_OF(HOW, name, args, F, RotatE, rotate)

struct RowsMapArgs;
template <> struct LayoutOf<RowsMapArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 40, "RowsMapArgs");
    static_assert(offsetof(T, map) == 0, "RowsMapArgs::map");
    static_assert(offsetof(T, row_node) == 8, "RowsMapArgs::row_node");
    static_assert(offsetof(T, offsets) == 16, "RowsMapArgs::offsets");
    static_assert(offsetof(T, row_query) == 24, "RowsMapArgs::row_query");
    static_assert(offsetof(T, nodes) == 32, "RowsMapArgs::nodes");
    static_assert(offsetof(T, width) == 36, "RowsMapArgs::width");
    return true;
  }
};

struct FlipMarksArgs;
template <> struct LayoutOf<FlipMarksArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 24, "FlipMarksArgs");
    static_assert(offsetof(T, values) == 0, "FlipMarksArgs::values");
    static_assert(offsetof(T, at) == 8, "FlipMarksArgs::at");
    static_assert(offsetof(T, count) == 16, "FlipMarksArgs::count");
    return true;
  }
};

struct AggregateArgs;
template <> struct LayoutOf<AggregateArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 160, "AggregateArgs");
    static_assert(offsetof(T, x) == 0, "AggregateArgs::x");
    static_assert(offsetof(T, w) == 8, "AggregateArgs::w");
    static_assert(offsetof(T, boundary) == 16, "AggregateArgs::boundary");
    static_assert(offsetof(T, counts) == 24, "AggregateArgs::counts");
    static_assert(offsetof(T, features) == 32, "AggregateArgs::features");
    static_assert(offsetof(T, grads) == 40, "AggregateArgs::grads");
    static_assert(offsetof(T, dboundary) == 48, "AggregateArgs::dboundary");
    static_assert(offsetof(T, partial) == 56, "AggregateArgs::partial");
    static_assert(offsetof(T, row_node) == 64, "AggregateArgs::row_node");
    static_assert(offsetof(T, row_query) == 72, "AggregateArgs::row_query");
    static_assert(offsetof(T, map) == 80, "AggregateArgs::map");
    static_assert(offsetof(T, offsets) == 88, "AggregateArgs::offsets");
    static_assert(offsetof(T, other) == 96, "AggregateArgs::other");
    static_assert(offsetof(T, relation) == 104, "AggregateArgs::relation");
    static_assert(offsetof(T, start) == 112, "AggregateArgs::start");
    static_assert(offsetof(T, parts) == 120, "AggregateArgs::parts");
    static_assert(offsetof(T, rows) == 128, "AggregateArgs::rows");
    static_assert(offsetof(T, d) == 132, "AggregateArgs::d");
    static_assert(offsetof(T, width) == 136, "AggregateArgs::width");
    static_assert(offsetof(T, split) == 140, "AggregateArgs::split");
    static_assert(offsetof(T, stride) == 144, "AggregateArgs::stride");
    static_assert(offsetof(T, column) == 148, "AggregateArgs::column");
    static_assert(offsetof(T, flag) == 152, "AggregateArgs::flag");
    return true;
  }
};

struct UpstreamArgs;
template <> struct LayoutOf<UpstreamArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 32, "UpstreamArgs");
    static_assert(offsetof(T, features) == 0, "UpstreamArgs::features");
    static_assert(offsetof(T, grads) == 8, "UpstreamArgs::grads");
    static_assert(offsetof(T, stride) == 16, "UpstreamArgs::stride");
    static_assert(offsetof(T, pna) == 20, "UpstreamArgs::pna");
    static_assert(offsetof(T, parts) == 24, "UpstreamArgs::parts");
    return true;
  }
};

struct UpstreamStateArgs;
template <> struct LayoutOf<UpstreamStateArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 144, "UpstreamStateArgs");
    static_assert(offsetof(T, up) == 0, "UpstreamStateArgs::up");
    static_assert(offsetof(T, x) == 32, "UpstreamStateArgs::x");
    static_assert(offsetof(T, w) == 40, "UpstreamStateArgs::w");
    static_assert(offsetof(T, dstate) == 48, "UpstreamStateArgs::dstate");
    static_assert(offsetof(T, dy) == 56, "UpstreamStateArgs::dy");
    static_assert(offsetof(T, out) == 64, "UpstreamStateArgs::out");
    static_assert(offsetof(T, row_node) == 72, "UpstreamStateArgs::row_node");
    static_assert(offsetof(T, row_query) == 80, "UpstreamStateArgs::row_query");
    static_assert(offsetof(T, map) == 88, "UpstreamStateArgs::map");
    static_assert(offsetof(T, offsets) == 96, "UpstreamStateArgs::offsets");
    static_assert(offsetof(T, other) == 104, "UpstreamStateArgs::other");
    static_assert(offsetof(T, relation) == 112, "UpstreamStateArgs::relation");
    static_assert(offsetof(T, parts) == 120, "UpstreamStateArgs::parts");
    static_assert(offsetof(T, rows) == 128, "UpstreamStateArgs::rows");
    static_assert(offsetof(T, d) == 132, "UpstreamStateArgs::d");
    static_assert(offsetof(T, width) == 136, "UpstreamStateArgs::width");
    static_assert(offsetof(T, split) == 140, "UpstreamStateArgs::split");
    return true;
  }
};

struct UpstreamRelationArgs;
template <> struct LayoutOf<UpstreamRelationArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 128, "UpstreamRelationArgs");
    static_assert(offsetof(T, up) == 0, "UpstreamRelationArgs::up");
    static_assert(offsetof(T, x) == 32, "UpstreamRelationArgs::x");
    static_assert(offsetof(T, w) == 40, "UpstreamRelationArgs::w");
    static_assert(offsetof(T, out) == 48, "UpstreamRelationArgs::out");
    static_assert(offsetof(T, to_offsets) == 56, "UpstreamRelationArgs::to_offsets");
    static_assert(offsetof(T, to_query) == 64, "UpstreamRelationArgs::to_query");
    static_assert(offsetof(T, map) == 72, "UpstreamRelationArgs::map");
    static_assert(offsetof(T, chunks) == 80, "UpstreamRelationArgs::chunks");
    static_assert(offsetof(T, of) == 88, "UpstreamRelationArgs::of");
    static_assert(offsetof(T, receiver) == 96, "UpstreamRelationArgs::receiver");
    static_assert(offsetof(T, sender) == 104, "UpstreamRelationArgs::sender");
    static_assert(offsetof(T, rows) == 112, "UpstreamRelationArgs::rows");
    static_assert(offsetof(T, d) == 116, "UpstreamRelationArgs::d");
    static_assert(offsetof(T, width) == 120, "UpstreamRelationArgs::width");
    return true;
  }
};

struct MomentsGradArgs;
template <> struct LayoutOf<MomentsGradArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 64, "MomentsGradArgs");
    static_assert(offsetof(T, features) == 0, "MomentsGradArgs::features");
    static_assert(offsetof(T, counts) == 8, "MomentsGradArgs::counts");
    static_assert(offsetof(T, boundary) == 16, "MomentsGradArgs::boundary");
    static_assert(offsetof(T, grads) == 24, "MomentsGradArgs::grads");
    static_assert(offsetof(T, dboundary) == 32, "MomentsGradArgs::dboundary");
    static_assert(offsetof(T, row_node) == 40, "MomentsGradArgs::row_node");
    static_assert(offsetof(T, start) == 48, "MomentsGradArgs::start");
    static_assert(offsetof(T, rows) == 56, "MomentsGradArgs::rows");
    static_assert(offsetof(T, d) == 60, "MomentsGradArgs::d");
    return true;
  }
};

struct ScoresArgs;
template <> struct LayoutOf<ScoresArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 112, "ScoresArgs");
    static_assert(offsetof(T, p) == 0, "ScoresArgs::p");
    static_assert(offsetof(T, far) == 8, "ScoresArgs::far");
    static_assert(offsetof(T, share) == 16, "ScoresArgs::share");
    static_assert(offsetof(T, w2) == 24, "ScoresArgs::w2");
    static_assert(offsetof(T, b2) == 32, "ScoresArgs::b2");
    static_assert(offsetof(T, dscores) == 40, "ScoresArgs::dscores");
    static_assert(offsetof(T, scores) == 48, "ScoresArgs::scores");
    static_assert(offsetof(T, partial) == 56, "ScoresArgs::partial");
    static_assert(offsetof(T, map) == 64, "ScoresArgs::map");
    static_assert(offsetof(T, row_node) == 72, "ScoresArgs::row_node");
    static_assert(offsetof(T, row_query) == 80, "ScoresArgs::row_query");
    static_assert(offsetof(T, nodes) == 88, "ScoresArgs::nodes");
    static_assert(offsetof(T, queries) == 92, "ScoresArgs::queries");
    static_assert(offsetof(T, f) == 96, "ScoresArgs::f");
    static_assert(offsetof(T, rows) == 100, "ScoresArgs::rows");
    static_assert(offsetof(T, per) == 104, "ScoresArgs::per");
    return true;
  }
};

struct LossArgs;
template <> struct LayoutOf<LossArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 72, "LossArgs");
    static_assert(offsetof(T, scores) == 0, "LossArgs::scores");
    static_assert(offsetof(T, grad) == 8, "LossArgs::grad");
    static_assert(offsetof(T, loss) == 16, "LossArgs::loss");
    static_assert(offsetof(T, offsets) == 24, "LossArgs::offsets");
    static_assert(offsetof(T, positives) == 32, "LossArgs::positives");
    static_assert(offsetof(T, temperature) == 40, "LossArgs::temperature");
    static_assert(offsetof(T, weight) == 48, "LossArgs::weight");
    static_assert(offsetof(T, used) == 56, "LossArgs::used");
    static_assert(offsetof(T, rows) == 64, "LossArgs::rows");
    static_assert(offsetof(T, columns) == 68, "LossArgs::columns");
    return true;
  }
};

struct SumOverArgs;
template <> struct LayoutOf<SumOverArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 48, "SumOverArgs");
    static_assert(offsetof(T, x) == 0, "SumOverArgs::x");
    static_assert(offsetof(T, out) == 8, "SumOverArgs::out");
    static_assert(offsetof(T, offsets) == 16, "SumOverArgs::offsets");
    static_assert(offsetof(T, other) == 24, "SumOverArgs::other");
    static_assert(offsetof(T, weight) == 32, "SumOverArgs::weight");
    static_assert(offsetof(T, from_columns) == 40, "SumOverArgs::from_columns");
    static_assert(offsetof(T, to_columns) == 44, "SumOverArgs::to_columns");
    return true;
  }
};

struct MessagesArgs;
template <> struct LayoutOf<MessagesArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 128, "MessagesArgs");
    static_assert(offsetof(T, x) == 0, "MessagesArgs::x");
    static_assert(offsetof(T, w) == 8, "MessagesArgs::w");
    static_assert(offsetof(T, far) == 16, "MessagesArgs::far");
    static_assert(offsetof(T, boundary) == 24, "MessagesArgs::boundary");
    static_assert(offsetof(T, counts) == 32, "MessagesArgs::counts");
    static_assert(offsetof(T, out) == 40, "MessagesArgs::out");
    static_assert(offsetof(T, row_node) == 48, "MessagesArgs::row_node");
    static_assert(offsetof(T, row_query) == 56, "MessagesArgs::row_query");
    static_assert(offsetof(T, map) == 64, "MessagesArgs::map");
    static_assert(offsetof(T, offsets) == 72, "MessagesArgs::offsets");
    static_assert(offsetof(T, other) == 80, "MessagesArgs::other");
    static_assert(offsetof(T, relation) == 88, "MessagesArgs::relation");
    static_assert(offsetof(T, start) == 96, "MessagesArgs::start");
    static_assert(offsetof(T, parts) == 104, "MessagesArgs::parts");
    static_assert(offsetof(T, rows) == 112, "MessagesArgs::rows");
    static_assert(offsetof(T, d) == 116, "MessagesArgs::d");
    static_assert(offsetof(T, width) == 120, "MessagesArgs::width");
    static_assert(offsetof(T, split) == 124, "MessagesArgs::split");
    return true;
  }
};

struct StateGradArgs;
template <> struct LayoutOf<StateGradArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 136, "StateGradArgs");
    static_assert(offsetof(T, dsum) == 0, "StateGradArgs::dsum");
    static_assert(offsetof(T, dstate) == 8, "StateGradArgs::dstate");
    static_assert(offsetof(T, dy) == 16, "StateGradArgs::dy");
    static_assert(offsetof(T, w) == 24, "StateGradArgs::w");
    static_assert(offsetof(T, out) == 32, "StateGradArgs::out");
    static_assert(offsetof(T, row_node) == 40, "StateGradArgs::row_node");
    static_assert(offsetof(T, row_query) == 48, "StateGradArgs::row_query");
    static_assert(offsetof(T, map) == 56, "StateGradArgs::map");
    static_assert(offsetof(T, to_offsets) == 64, "StateGradArgs::to_offsets");
    static_assert(offsetof(T, to_query) == 72, "StateGradArgs::to_query");
    static_assert(offsetof(T, to_map) == 80, "StateGradArgs::to_map");
    static_assert(offsetof(T, offsets) == 88, "StateGradArgs::offsets");
    static_assert(offsetof(T, other) == 96, "StateGradArgs::other");
    static_assert(offsetof(T, relation) == 104, "StateGradArgs::relation");
    static_assert(offsetof(T, parts) == 112, "StateGradArgs::parts");
    static_assert(offsetof(T, rows) == 120, "StateGradArgs::rows");
    static_assert(offsetof(T, d) == 124, "StateGradArgs::d");
    static_assert(offsetof(T, width) == 128, "StateGradArgs::width");
    static_assert(offsetof(T, split) == 132, "StateGradArgs::split");
    return true;
  }
};

struct RelationGradArgs;
template <> struct LayoutOf<RelationGradArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 88, "RelationGradArgs");
    static_assert(offsetof(T, dsum) == 0, "RelationGradArgs::dsum");
    static_assert(offsetof(T, x) == 8, "RelationGradArgs::x");
    static_assert(offsetof(T, out) == 16, "RelationGradArgs::out");
    static_assert(offsetof(T, to_offsets) == 24, "RelationGradArgs::to_offsets");
    static_assert(offsetof(T, to_query) == 32, "RelationGradArgs::to_query");
    static_assert(offsetof(T, map) == 40, "RelationGradArgs::map");
    static_assert(offsetof(T, chunks) == 48, "RelationGradArgs::chunks");
    static_assert(offsetof(T, receiver) == 56, "RelationGradArgs::receiver");
    static_assert(offsetof(T, sender) == 64, "RelationGradArgs::sender");
    static_assert(offsetof(T, rows) == 72, "RelationGradArgs::rows");
    static_assert(offsetof(T, d) == 76, "RelationGradArgs::d");
    static_assert(offsetof(T, width) == 80, "RelationGradArgs::width");
    return true;
  }
};

struct JoinPartsArgs;
template <> struct LayoutOf<JoinPartsArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 64, "JoinPartsArgs");
    static_assert(offsetof(T, parts) == 0, "JoinPartsArgs::parts");
    static_assert(offsetof(T, boundary) == 8, "JoinPartsArgs::boundary");
    static_assert(offsetof(T, counts) == 16, "JoinPartsArgs::counts");
    static_assert(offsetof(T, out) == 24, "JoinPartsArgs::out");
    static_assert(offsetof(T, joins) == 32, "JoinPartsArgs::joins");
    static_assert(offsetof(T, start) == 40, "JoinPartsArgs::start");
    static_assert(offsetof(T, row_node) == 48, "JoinPartsArgs::row_node");
    static_assert(offsetof(T, rows) == 56, "JoinPartsArgs::rows");
    static_assert(offsetof(T, d) == 60, "JoinPartsArgs::d");
    return true;
  }
};

struct NormForwardArgs;
template <> struct LayoutOf<NormForwardArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 72, "NormForwardArgs");
    static_assert(offsetof(T, lin) == 0, "NormForwardArgs::lin");
    static_assert(offsetof(T, y) == 8, "NormForwardArgs::y");
    static_assert(offsetof(T, rstd) == 16, "NormForwardArgs::rstd");
    static_assert(offsetof(T, bias) == 24, "NormForwardArgs::bias");
    static_assert(offsetof(T, gamma) == 32, "NormForwardArgs::gamma");
    static_assert(offsetof(T, beta) == 40, "NormForwardArgs::beta");
    static_assert(offsetof(T, shortcut) == 48, "NormForwardArgs::shortcut");
    static_assert(offsetof(T, rows) == 56, "NormForwardArgs::rows");
    static_assert(offsetof(T, n) == 60, "NormForwardArgs::n");
    static_assert(offsetof(T, activation) == 64, "NormForwardArgs::activation");
    return true;
  }
};

struct NormBackwardArgs;
template <> struct LayoutOf<NormBackwardArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 72, "NormBackwardArgs");
    static_assert(offsetof(T, dy) == 0, "NormBackwardArgs::dy");
    static_assert(offsetof(T, normed) == 8, "NormBackwardArgs::normed");
    static_assert(offsetof(T, rstd) == 16, "NormBackwardArgs::rstd");
    static_assert(offsetof(T, gamma) == 24, "NormBackwardArgs::gamma");
    static_assert(offsetof(T, beta) == 32, "NormBackwardArgs::beta");
    static_assert(offsetof(T, dlin) == 40, "NormBackwardArgs::dlin");
    static_assert(offsetof(T, partial) == 48, "NormBackwardArgs::partial");
    static_assert(offsetof(T, rows) == 56, "NormBackwardArgs::rows");
    static_assert(offsetof(T, n) == 60, "NormBackwardArgs::n");
    static_assert(offsetof(T, activation) == 64, "NormBackwardArgs::activation");
    static_assert(offsetof(T, per) == 68, "NormBackwardArgs::per");
    return true;
  }
};

struct SquaresArgs;
template <> struct LayoutOf<SquaresArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 40, "SquaresArgs");
    static_assert(offsetof(T, x) == 0, "SquaresArgs::x");
    static_assert(offsetof(T, out) == 8, "SquaresArgs::out");
    static_assert(offsetof(T, count) == 16, "SquaresArgs::count");
    static_assert(offsetof(T, per) == 24, "SquaresArgs::per");
    static_assert(offsetof(T, squared) == 32, "SquaresArgs::squared");
    return true;
  }
};

struct AdamArgs;
template <> struct LayoutOf<AdamArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 120, "AdamArgs");
    static_assert(offsetof(T, param) == 0, "AdamArgs::param");
    static_assert(offsetof(T, grad) == 8, "AdamArgs::grad");
    static_assert(offsetof(T, m) == 16, "AdamArgs::m");
    static_assert(offsetof(T, v) == 24, "AdamArgs::v");
    static_assert(offsetof(T, squares) == 32, "AdamArgs::squares");
    static_assert(offsetof(T, count) == 40, "AdamArgs::count");
    static_assert(offsetof(T, b1) == 48, "AdamArgs::b1");
    static_assert(offsetof(T, b2) == 56, "AdamArgs::b2");
    static_assert(offsetof(T, c1) == 64, "AdamArgs::c1");
    static_assert(offsetof(T, c2) == 72, "AdamArgs::c2");
    static_assert(offsetof(T, step_size) == 80, "AdamArgs::step_size");
    static_assert(offsetof(T, root) == 88, "AdamArgs::root");
    static_assert(offsetof(T, keep) == 96, "AdamArgs::keep");
    static_assert(offsetof(T, eps) == 104, "AdamArgs::eps");
    static_assert(offsetof(T, most) == 112, "AdamArgs::most");
    return true;
  }
};

struct GatherStatesArgs;
template <> struct LayoutOf<GatherStatesArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 64, "GatherStatesArgs");
    static_assert(offsetof(T, x) == 0, "GatherStatesArgs::x");
    static_assert(offsetof(T, far) == 8, "GatherStatesArgs::far");
    static_assert(offsetof(T, out) == 16, "GatherStatesArgs::out");
    static_assert(offsetof(T, row_node) == 24, "GatherStatesArgs::row_node");
    static_assert(offsetof(T, row_query) == 32, "GatherStatesArgs::row_query");
    static_assert(offsetof(T, map) == 40, "GatherStatesArgs::map");
    static_assert(offsetof(T, rows) == 48, "GatherStatesArgs::rows");
    static_assert(offsetof(T, d) == 52, "GatherStatesArgs::d");
    static_assert(offsetof(T, width) == 56, "GatherStatesArgs::width");
    return true;
  }
};

struct TakeStatesArgs;
template <> struct LayoutOf<TakeStatesArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 56, "TakeStatesArgs");
    static_assert(offsetof(T, x) == 0, "TakeStatesArgs::x");
    static_assert(offsetof(T, far) == 8, "TakeStatesArgs::far");
    static_assert(offsetof(T, out) == 16, "TakeStatesArgs::out");
    static_assert(offsetof(T, index) == 24, "TakeStatesArgs::index");
    static_assert(offsetof(T, node) == 32, "TakeStatesArgs::node");
    static_assert(offsetof(T, rows) == 40, "TakeStatesArgs::rows");
    static_assert(offsetof(T, d) == 44, "TakeStatesArgs::d");
    static_assert(offsetof(T, stride) == 48, "TakeStatesArgs::stride");
    static_assert(offsetof(T, column) == 52, "TakeStatesArgs::column");
    return true;
  }
};

struct GiveStatesArgs;
template <> struct LayoutOf<GiveStatesArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 56, "GiveStatesArgs");
    static_assert(offsetof(T, x) == 0, "GiveStatesArgs::x");
    static_assert(offsetof(T, dout) == 8, "GiveStatesArgs::dout");
    static_assert(offsetof(T, row) == 16, "GiveStatesArgs::row");
    static_assert(offsetof(T, offsets) == 24, "GiveStatesArgs::offsets");
    static_assert(offsetof(T, positions) == 32, "GiveStatesArgs::positions");
    static_assert(offsetof(T, rows) == 40, "GiveStatesArgs::rows");
    static_assert(offsetof(T, d) == 44, "GiveStatesArgs::d");
    static_assert(offsetof(T, stride) == 48, "GiveStatesArgs::stride");
    static_assert(offsetof(T, column) == 52, "GiveStatesArgs::column");
    return true;
  }
};

struct AddRowsArgs;
template <> struct LayoutOf<AddRowsArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 40, "AddRowsArgs");
    static_assert(offsetof(T, to) == 0, "AddRowsArgs::to");
    static_assert(offsetof(T, from) == 8, "AddRowsArgs::from");
    static_assert(offsetof(T, to_at) == 16, "AddRowsArgs::to_at");
    static_assert(offsetof(T, from_at) == 24, "AddRowsArgs::from_at");
    static_assert(offsetof(T, rows) == 32, "AddRowsArgs::rows");
    static_assert(offsetof(T, d) == 36, "AddRowsArgs::d");
    return true;
  }
};

struct FillRowsArgs;
template <> struct LayoutOf<FillRowsArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 32, "FillRowsArgs");
    static_assert(offsetof(T, to) == 0, "FillRowsArgs::to");
    static_assert(offsetof(T, from) == 8, "FillRowsArgs::from");
    static_assert(offsetof(T, index) == 16, "FillRowsArgs::index");
    static_assert(offsetof(T, rows) == 24, "FillRowsArgs::rows");
    static_assert(offsetof(T, d) == 28, "FillRowsArgs::d");
    return true;
  }
};

struct SumNodesArgs;
template <> struct LayoutOf<SumNodesArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 40, "SumNodesArgs");
    static_assert(offsetof(T, to) == 0, "SumNodesArgs::to");
    static_assert(offsetof(T, from) == 8, "SumNodesArgs::from");
    static_assert(offsetof(T, offsets) == 16, "SumNodesArgs::offsets");
    static_assert(offsetof(T, index) == 24, "SumNodesArgs::index");
    static_assert(offsetof(T, nodes) == 32, "SumNodesArgs::nodes");
    static_assert(offsetof(T, d) == 36, "SumNodesArgs::d");
    return true;
  }
};

struct SetAtArgs;
template <> struct LayoutOf<SetAtArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 32, "SetAtArgs");
    static_assert(offsetof(T, values) == 0, "SetAtArgs::values");
    static_assert(offsetof(T, at) == 8, "SetAtArgs::at");
    static_assert(offsetof(T, by) == 16, "SetAtArgs::by");
    static_assert(offsetof(T, count) == 24, "SetAtArgs::count");
    return true;
  }
};

struct DivideRowsArgs;
template <> struct LayoutOf<DivideRowsArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 32, "DivideRowsArgs");
    static_assert(offsetof(T, x) == 0, "DivideRowsArgs::x");
    static_assert(offsetof(T, by) == 8, "DivideRowsArgs::by");
    static_assert(offsetof(T, node) == 16, "DivideRowsArgs::node");
    static_assert(offsetof(T, rows) == 24, "DivideRowsArgs::rows");
    static_assert(offsetof(T, d) == 28, "DivideRowsArgs::d");
    return true;
  }
};

struct WeighRowsArgs;
template <> struct LayoutOf<WeighRowsArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 40, "WeighRowsArgs");
    static_assert(offsetof(T, x) == 0, "WeighRowsArgs::x");
    static_assert(offsetof(T, weight) == 8, "WeighRowsArgs::weight");
    static_assert(offsetof(T, out) == 16, "WeighRowsArgs::out");
    static_assert(offsetof(T, index) == 24, "WeighRowsArgs::index");
    static_assert(offsetof(T, rows) == 32, "WeighRowsArgs::rows");
    static_assert(offsetof(T, d) == 36, "WeighRowsArgs::d");
    return true;
  }
};

struct BiasRowsArgs;
template <> struct LayoutOf<BiasRowsArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 32, "BiasRowsArgs");
    static_assert(offsetof(T, x) == 0, "BiasRowsArgs::x");
    static_assert(offsetof(T, bias) == 8, "BiasRowsArgs::bias");
    static_assert(offsetof(T, rows) == 16, "BiasRowsArgs::rows");
    static_assert(offsetof(T, d) == 20, "BiasRowsArgs::d");
    static_assert(offsetof(T, per) == 24, "BiasRowsArgs::per");
    static_assert(offsetof(T, relu) == 28, "BiasRowsArgs::relu");
    return true;
  }
};

struct EachArgs;
template <> struct LayoutOf<EachArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 32, "EachArgs");
    static_assert(offsetof(T, x) == 0, "EachArgs::x");
    static_assert(offsetof(T, y) == 8, "EachArgs::y");
    static_assert(offsetof(T, count) == 16, "EachArgs::count");
    static_assert(offsetof(T, op) == 24, "EachArgs::op");
    return true;
  }
};

struct CastArgs;
template <> struct LayoutOf<CastArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 24, "CastArgs");
    static_assert(offsetof(T, to) == 0, "CastArgs::to");
    static_assert(offsetof(T, from) == 8, "CastArgs::from");
    static_assert(offsetof(T, count) == 16, "CastArgs::count");
    return true;
  }
};

struct ScaleFeaturesArgs;
template <> struct LayoutOf<ScaleFeaturesArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 48, "ScaleFeaturesArgs");
    static_assert(offsetof(T, features) == 0, "ScaleFeaturesArgs::features");
    static_assert(offsetof(T, wide) == 8, "ScaleFeaturesArgs::wide");
    static_assert(offsetof(T, scale) == 16, "ScaleFeaturesArgs::scale");
    static_assert(offsetof(T, inverse) == 24, "ScaleFeaturesArgs::inverse");
    static_assert(offsetof(T, row_node) == 32, "ScaleFeaturesArgs::row_node");
    static_assert(offsetof(T, rows) == 40, "ScaleFeaturesArgs::rows");
    static_assert(offsetof(T, d) == 44, "ScaleFeaturesArgs::d");
    return true;
  }
};

struct JoinRowsArgs;
template <> struct LayoutOf<JoinRowsArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 32, "JoinRowsArgs");
    static_assert(offsetof(T, x) == 0, "JoinRowsArgs::x");
    static_assert(offsetof(T, out) == 8, "JoinRowsArgs::out");
    static_assert(offsetof(T, first) == 16, "JoinRowsArgs::first");
    static_assert(offsetof(T, rows) == 24, "JoinRowsArgs::rows");
    static_assert(offsetof(T, d) == 28, "JoinRowsArgs::d");
    return true;
  }
};

struct ColumnSumsArgs;
template <> struct LayoutOf<ColumnSumsArgs> {
  template <class T> static constexpr bool matches() {
    static_assert(sizeof(T) == 32, "ColumnSumsArgs");
    static_assert(offsetof(T, x) == 0, "ColumnSumsArgs::x");
    static_assert(offsetof(T, out) == 8, "ColumnSumsArgs::out");
    static_assert(offsetof(T, rows) == 16, "ColumnSumsArgs::rows");
    static_assert(offsetof(T, d) == 20, "ColumnSumsArgs::d");
    static_assert(offsetof(T, per) == 24, "ColumnSumsArgs::per");
    return true;
  }
};

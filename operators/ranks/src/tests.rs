//! Tests with teams whose ranks are threads, and with a rank 1 that only pretends to be one.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gfm_pipe_api::ranks::{Shared, threads};
use gfm_pipe_api::{Cancel, Collective, OpError, OpResult};
use serde_json::json;

use crate::control::{Meeting, Member, Message, Settings, receive, send};
use crate::{Claim, Order, Team};

/// Connects a thread to the others, in place of MPI.
struct Link(Shared);

impl Collective for Link {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn exchange(&self, to: Vec<Vec<u8>>) -> OpResult<Vec<Vec<u8>>> {
        self.0.exchange(to)
    }
}

fn settings() -> Settings {
    Settings {
        silence: Duration::from_millis(500),
        meeting: Duration::from_secs(5),
    }
}

fn claim(value: &str) -> Vec<Claim> {
    vec![Claim {
        what: "version of the program".to_owned(),
        value: value.to_owned(),
        hint: "install the same".to_owned(),
    }]
}

fn meet(link: Shared, claims: Vec<Claim>) -> OpResult<Team> {
    Team::meet(|| Ok(Box::new(Link(link))), claims, settings())
}

/// Runs `lead` on rank 0 and `follow` on all others.
fn team<T: Send>(
    size: usize,
    lead: impl FnOnce(Team) -> T + Send,
    follow: impl Fn(Team) + Sync,
) -> T {
    let follow = &follow;
    std::thread::scope(|scope| {
        let mut links = threads(size).into_iter();
        let first = links.next().unwrap();
        for link in links {
            scope.spawn(move || follow(meet(link, claim("1")).unwrap()));
        }
        lead(meet(first, claim("1")).unwrap())
    })
}

/// Follows all orders with one function.
fn obey(team: &Team, compute: impl Fn(&dyn Collective) -> OpResult<()>) {
    while let Ok(Order::Compute(number, _)) = team.next() {
        if let Ok(Some(ranks)) = team.begin(number, Ok(())) {
            let result = compute(&*ranks);
            team.done(number, &result);
        }
    }
    team.close();
}

fn message(result: OpResult<()>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn ranks_compute_what_the_first_one_orders() {
    let whole = team(
        3,
        |team| {
            assert_eq!(team.members().len(), 3);
            for _ in 0..3 {
                let session = team
                    .start(json!({"stage": "x"}), &Cancel::default())
                    .unwrap();
                let all = session.ranks().all_gather(vec![0]).unwrap();
                assert_eq!(all, [[0], [1], [2]]);
                session.end(Ok(())).unwrap();
            }
            team.close()
        },
        |team| {
            obey(&team, |ranks| {
                ranks.all_gather(vec![ranks.rank() as u8]).map(|_| ())
            });
        },
    );
    assert!(whole);
}

#[test]
fn a_rank_with_another_program_is_refused_by_name() {
    std::thread::scope(|scope| {
        let mut links = threads(3).into_iter();
        let first = links.next().unwrap();
        for (link, version) in links.zip(["1", "2"]) {
            scope.spawn(move || {
                let refused = meet(link, claim(version)).map(|_| ()).unwrap_err();
                assert!(matches!(refused, OpError::Cancelled), "{refused}");
            });
        }
        let refused = message(meet(first, claim("1")).map(|_| ()));
        assert!(refused.starts_with("rank 2 (process "), "{refused}");
        let what = "has another version of the program: 2 there, 1 on rank 0";
        assert!(refused.contains(what), "{refused}");
    });
}

#[test]
fn who_cannot_compute_an_order_says_why_and_nobody_begins() {
    team(
        2,
        |team| {
            let refused = team.start(json!(1), &Cancel::default()).map(|_| ());
            let refused = message(refused);
            assert!(refused.ends_with(": no such file"), "{refused}");
            assert!(refused.starts_with("rank 1 (process "), "{refused}");
            // The next stage can still be computed.
            let session = team.start(json!(2), &Cancel::default()).unwrap();
            session.end(Ok(())).unwrap();
            assert!(team.close());
        },
        |team| {
            while let Ok(Order::Compute(number, order)) = team.next() {
                let problem = OpError::new("no such file");
                let ready = if order == json!(1) {
                    Err(&problem)
                } else {
                    Ok(())
                };
                if team.begin(number, ready).unwrap().is_some() {
                    team.done(number, &Ok(()));
                }
            }
            team.close();
        },
    );
}

#[test]
fn a_rank_that_fails_ends_the_stage_with_its_message() {
    let (said, whole) = team(
        3,
        |team| {
            let session = team.start(json!(1), &Cancel::default()).unwrap();
            let result = session.ranks().barrier();
            let said = message(session.end(result));
            // Nothing can be computed together any more: the barrier that the ranks abandoned never
            // ended.
            let next = message(team.start(json!(2), &Cancel::default()).map(|_| ()));
            assert!(next.contains("out of step"), "{next}");
            (said, team.close())
        },
        |team| {
            obey(&team, |ranks| match ranks.rank() {
                2 => Err(OpError::new("no memory")),
                _ => ranks.barrier(),
            });
        },
    );
    assert!(
        said.starts_with("rank 2 (process ") && said.ends_with("no memory"),
        "{said}"
    );
    assert!(!whole);
}

#[test]
fn all_ranks_may_fail_on_the_same_and_go_on() {
    team(
        2,
        |team| {
            let session = team.start(json!(1), &Cancel::default()).unwrap();
            let failed = Err(OpError::new("the loss became NaN"));
            assert_eq!(message(session.end(failed)), "the loss became NaN");
            let session = team.start(json!(2), &Cancel::default()).unwrap();
            session.end(Ok(())).unwrap();
            assert!(team.close());
        },
        |team| {
            let first = AtomicBool::new(true);
            obey(&team, |_| {
                if first.swap(false, Ordering::Relaxed) {
                    Err(OpError::new("the loss became NaN"))
                } else {
                    Ok(())
                }
            });
        },
    );
}

#[test]
fn who_does_not_come_in_time_is_named() {
    let said = team(
        3,
        |team| {
            let session = team.start(json!(1), &Cancel::default()).unwrap();
            let ranks = session.ranks();
            ranks.be_patient(Some(Duration::from_millis(400)));
            let result = ranks.barrier();
            let said = message(session.end(result));
            team.close();
            said
        },
        |team| {
            obey(&team, |ranks| {
                if ranks.rank() == 2 {
                    while !team.is_stopped() {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    return Ok(());
                }
                ranks.barrier()
            });
        },
    );
    assert!(
        said.starts_with("rank 2 (process ") && said.contains("did not come"),
        "{said}"
    );
}

#[test]
fn a_wish_to_stop_reaches_the_first_rank_and_all_stop() {
    team(
        2,
        |team| {
            let cancel = Cancel::default();
            team.on_interrupt(&cancel);
            let session = team.start(json!(1), &cancel).unwrap();
            while !cancel.is_cancelled() {
                std::thread::sleep(Duration::from_millis(5));
            }
            let ended = session.end(Err(OpError::Cancelled));
            assert!(matches!(ended, Err(OpError::Cancelled)));
            team.close();
        },
        |team| {
            obey(&team, |_| {
                team.interrupt();
                while !team.is_stopped() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(OpError::Cancelled)
            });
        },
    );
}

/// Rank 1 connects and is welcomed; then `then` gets its connection.
fn pretender(then: impl FnOnce(TcpStream) + Send) -> (String, Duration) {
    std::thread::scope(|scope| {
        let mut links = threads(2).into_iter();
        let first = links.next().unwrap();
        let link = links.next().unwrap();
        scope.spawn(move || {
            let text = link.broadcast(0, Vec::new()).unwrap();
            let meeting: Meeting = serde_json::from_slice(&text).unwrap();
            let mut stream = TcpStream::connect(("127.0.0.1", meeting.port)).unwrap();
            let hello = Message::Hello {
                member: Member::here(1),
                token: meeting.token.clone(),
                claims: claim("1"),
            };
            send(&mut stream, &hello).unwrap();
            assert!(matches!(
                receive(&mut stream).unwrap(),
                Message::Welcome { .. }
            ));
            then(stream);
        });
        let team = meet(first, claim("1")).unwrap();
        let start = Instant::now();
        let said = message(team.start(json!(1), &Cancel::default()).map(|_| ()));
        assert!(!team.close());
        (said, start.elapsed())
    })
}

#[test]
fn a_rank_that_ends_is_noticed_at_once() {
    let (said, after) = pretender(drop);
    assert!(
        said.starts_with("rank 1 (process ") && said.ends_with("ended"),
        "{said}"
    );
    assert!(after < Duration::from_millis(400), "{after:?}");
}

#[test]
fn a_rank_that_is_silent_is_taken_for_gone() {
    let (said, after) = pretender(|stream| {
        std::thread::sleep(Duration::from_millis(1500));
        drop(stream);
    });
    assert!(said.contains("has said nothing for"), "{said}");
    assert!(after < Duration::from_millis(1200), "{after:?}");
}

#[test]
fn a_rank_that_does_not_come_is_missed_by_number() {
    let mut links = threads(2).into_iter();
    let first = links.next().unwrap();
    let link = links.next().unwrap();
    let there = std::thread::spawn(move || link.broadcast(0, Vec::new()));
    let short = Settings {
        meeting: Duration::from_millis(200),
        ..settings()
    };
    let e = Team::meet(|| Ok(Box::new(Link(first))), claim("1"), short);
    let e = message(e.map(|_| ()));
    assert!(e.starts_with("rank 1 did not connect to rank 0"), "{e}");
    there.join().unwrap().unwrap();
}

//! Why a document was found: paths of the model, and walks of personalised PageRank, in words.

//! The documents that mention each entity.

use gfm_pipe_api::lists::{self, Lists};

use crate::BadShape;

/// The documents that mention each entity: a 0/1 matrix in CSR form with one row per entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityDocuments {
    documents: Lists,
    num_documents: usize,
    /// Documents that mention no entity, ascending.
    bare: Vec<u32>,
}

impl EntityDocuments {
    /// Takes (entity, document) pairs in any order; a pair given twice counts once.
    ///
    /// # Errors
    /// When an id is out of range.
    pub fn from_pairs(
        num_entities: usize,
        num_documents: usize,
        pairs: impl IntoIterator<Item = (u32, u32)>,
    ) -> Result<Self, BadShape> {
        let mut pairs: Vec<(u32, u32)> = pairs.into_iter().collect();
        for (entity, document) in &pairs {
            if *entity as usize >= num_entities || *document as usize >= num_documents {
                return Err(BadShape(format!(
                    "pair (entity {entity}, document {document}) is outside of {num_entities} entities and {num_documents} documents"
                )));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let documents = Lists::grouped(num_entities, pairs.into_iter());
        Ok(Self::of_lists(documents, num_documents))
    }

    /// Takes the entities that each document mentions, all of them below `num_entities`; an entity
    /// given twice for a document counts once.
    ///
    /// # Panics
    /// When an entity is out of range.
    pub fn from_mentioned(num_entities: usize, mentioned: &Lists) -> Self {
        let mut documents = mentioned.turned(num_entities);
        documents.retain(lists::sorted);
        Self::of_lists(documents, mentioned.len())
    }

    /// Takes the distinct documents of each entity, ascending.
    fn of_lists(documents: Lists, num_documents: usize) -> Self {
        let mut mentions = vec![false; num_documents];
        for document in documents.iter().flatten() {
            mentions[*document as usize] = true;
        }
        let ids = (0..=u32::MAX).zip(mentions);
        EntityDocuments {
            documents,
            num_documents,
            bare: ids.filter(|(_, any)| !any).map(|(id, _)| id).collect(),
        }
    }

    /// Number of entities.
    pub fn num_entities(&self) -> usize {
        self.documents.len()
    }

    /// Number of documents.
    pub fn num_documents(&self) -> usize {
        self.num_documents
    }

    /// Ids of the documents that mention an entity, ascending.
    pub fn documents(&self, entity: u32) -> &[u32] {
        self.documents.of(entity as usize)
    }

    /// Documents that mention no entity, ascending.
    pub fn without_entities(&self) -> &[u32] {
        &self.bare
    }

    /// The node of each document, if every document has exactly one node of its own: if documents
    /// are nodes.
    pub fn own_nodes(&self) -> Option<Vec<u32>> {
        let mut nodes = vec![None; self.num_documents];
        for entity in 0..self.num_entities() as u32 {
            for document in self.documents(entity) {
                let node = &mut nodes[*document as usize];
                if node.is_some() || self.documents(entity).len() > 1 {
                    return None;
                }
                *node = Some(entity);
            }
        }
        nodes.into_iter().collect()
    }

    /// 1 / number of documents that mention the entity; 0 where none does.
    pub fn weight(&self, entity: u32) -> f64 {
        match self.documents(entity).len() {
            0 => 0.0,
            n => 1.0 / n as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pairs_become_rows_and_bad_ids_are_refused() {
        let m = EntityDocuments::from_pairs(3, 2, [(2, 1), (0, 1), (0, 0), (2, 1)]).unwrap();
        assert_eq!(m.documents(0), [0, 1]);
        assert!(m.documents(1).is_empty());
        assert_eq!(m.documents(2), [1]);
        assert_eq!((m.weight(0), m.weight(1), m.weight(2)), (0.5, 0.0, 1.0));
        assert!(m.without_entities().is_empty());
        assert_eq!(m.own_nodes(), None);
        let own = EntityDocuments::from_pairs(4, 2, [(3, 0), (1, 1)]).unwrap();
        assert_eq!(own.own_nodes(), Some(vec![3, 1]));
        let m = EntityDocuments::from_pairs(1, 4, [(0, 1), (0, 1)]).unwrap();
        assert_eq!(m.without_entities(), [0, 2, 3]);
        let mut mentioned = Lists::default();
        [&[2, 0][..], &[0, 2, 0], &[]]
            .iter()
            .for_each(|list| mentioned.push(list.iter().copied()));
        let pairs = [(2, 0), (0, 0), (0, 1), (2, 1)];
        assert_eq!(
            EntityDocuments::from_mentioned(4, &mentioned),
            EntityDocuments::from_pairs(4, 3, pairs).unwrap()
        );
        assert!(EntityDocuments::from_pairs(3, 2, [(3, 0)]).is_err());
        assert!(EntityDocuments::from_pairs(3, 2, [(0, 2)]).is_err());
    }
}

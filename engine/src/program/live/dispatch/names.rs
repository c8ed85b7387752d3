//! Names of nodes: those of the configuration, and all that were seen since the start.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// Known names, the same for all that have a clone. A summary can name nodes that stand in no label, so what hides
/// names must know all of them.
#[derive(Debug, Clone, Default)]
pub struct NodeNames {
    known: Arc<RwLock<BTreeSet<String>>>,
}

impl NodeNames {
    /// Adds names; none is ever forgotten.
    pub fn learn<'n>(&self, names: impl IntoIterator<Item = &'n String>) {
        let new: Vec<&String> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            names.into_iter().filter(|name| !known.contains(*name)).collect()
        };
        if !new.is_empty() {
            self.known.write().unwrap_or_else(PoisonError::into_inner).extend(new.into_iter().cloned());
        }
    }

    /// All of them.
    pub fn all(&self) -> BTreeSet<String> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

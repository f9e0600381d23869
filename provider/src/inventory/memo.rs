//! What was read from objects that have not changed since.
//!
//! A watch replaces an object when it changes, so the same pointer is the same object: reading thousands of them again for
//! every event would take longer than everything else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Values by the object that they were read from. Clones share it.
#[derive(Debug)]
pub(super) struct Memo<K: ?Sized, V>(Arc<Mutex<Known<K, V>>>);

/// By the object's address.
type Known<K, V> = HashMap<usize, (Arc<K>, V)>;

impl<K: ?Sized, V> Clone for Memo<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: ?Sized, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: ?Sized, V: Clone> Memo<K, V> {
    /// What each object says, in their order. Objects that are not among these are forgotten.
    pub(super) fn read<'a>(
        &self,
        objects: impl ExactSizeIterator<Item = &'a Arc<K>>,
        read: impl Fn(&K) -> V,
    ) -> Vec<V>
    where
        K: 'a,
    {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut still = HashMap::with_capacity(objects.len());
        let values = objects.map(|object| {
            // The object is kept beside its value, so no other one can have its address.
            let place = Arc::as_ptr(object).cast::<()>().addr();
            let entry = known.remove(&place).unwrap_or_else(|| (Arc::clone(object), read(object)));
            let value = entry.1.clone();
            still.insert(place, entry);
            value
        });
        let values = values.collect();
        *known = still;
        values
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn an_object_is_read_once_and_forgotten_when_it_is_gone() {
        let memo = Memo::default();
        let reads = Cell::new(0);
        let read = |number: &u64| {
            reads.set(reads.get() + 1);
            number * 2
        };
        let (one, two) = (Arc::new(1), Arc::new(2));
        assert_eq!(memo.read([one.clone(), two.clone()].iter(), read), [2, 4]);
        assert_eq!((memo.read([two.clone(), one.clone()].iter(), read), reads.get()), (vec![4, 2], 2));
        assert_eq!(
            (memo.read([Arc::new(1), two].iter(), read), reads.get()),
            (vec![2, 4], 3),
            "another object"
        );
        assert_eq!(Arc::strong_count(&one), 1);
    }
}

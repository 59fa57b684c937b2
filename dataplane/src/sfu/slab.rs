//! A slab with generations: a stale key finds nothing, never a newcomer.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// Where a `T` lives in its [`Slab`].
pub(crate) struct Key<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.generation == other.generation
    }
}
impl<T> Eq for Key<T> {}
impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.index, self.generation).cmp(&(other.index, other.generation))
    }
}
impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.index, self.generation).hash(state);
    }
}
impl<T> std::fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}v{}", self.index, self.generation)
    }
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    /// In memory of its own, which goes with it: a place keeps the bytes of what was taken out of it.
    value: Option<Box<T>>,
}

#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Key<T> {
    /// The place, for sorting only: its value may be gone or another's.
    pub(crate) fn index(self) -> u32 {
        self.index
    }

    /// Finds nothing anywhere.
    #[cfg(test)]
    pub(crate) fn of_nothing() -> Key<T> {
        Key { index: u32::MAX, generation: u32::MAX, of: PhantomData }
    }
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, value: None });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.value = Some(Box::new(value));
        Key { index, generation: place.generation, of: PhantomData }
    }

    /// A key that belongs to nothing in the slab.
    #[cfg(test)]
    pub(crate) fn reserve_key(&mut self) -> Key<T> {
        self.places.push(Place { generation: 0, value: None });
        Key { index: (self.places.len() - 1) as u32, generation: 0, of: PhantomData }
    }

    pub(crate) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let place = self.places.get_mut(key.index as usize).filter(|p| p.generation == key.generation)?;
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(*value)
    }

    pub(crate) fn find(&self, key: Key<T>) -> Option<&T> {
        self.places.get(key.index as usize).filter(|p| p.generation == key.generation)?.value.as_deref()
    }

    pub(crate) fn find_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        self.places
            .get_mut(key.index as usize)
            .filter(|p| p.generation == key.generation)?
            .value
            .as_deref_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let key = Key { index: index as u32, generation: place.generation, of: PhantomData };
            place.value.as_deref().map(|value| (key, value))
        })
    }

    /// The first value behind `after`, or the very first.
    pub(crate) fn next_key(&self, after: Option<Key<T>>) -> Option<Key<T>> {
        let from = after.map_or(0, |key| key.index as usize + 1);
        let (offset, place) = self.places.get(from..)?.iter().enumerate().find(|(_, p)| p.value.is_some())?;
        Some(Key { index: (from + offset) as u32, generation: place.generation, of: PhantomData })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key<T>, &mut T)> {
        self.places.iter_mut().enumerate().filter_map(|(index, place)| {
            let key = Key { index: index as u32, generation: place.generation, of: PhantomData };
            place.value.as_deref_mut().map(|value| (key, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing_not_the_newcomer() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(slab.find(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.find(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }
}

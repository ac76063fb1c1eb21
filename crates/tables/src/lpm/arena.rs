//! Runs of up to 128 items in one vector, addressed by number.
//!
//! A tree node keeps its leaves, and the values of its prefixes, in one run each, in the order of the
//! bits that say which exist. A run has the room of its size class; when it outgrows the class it moves to
//! the next one and the old room is remembered for the next run of that class. Room never goes
//! back to the allocator and is never split or joined: the arena is as large as the sum over the
//! classes of the most that each had in use at once.

use std::mem::size_of;

use crate::memory::advise_huge_pages;

/// Room of each size class, in items. Steps of half as much again or less keep the room that
/// nobody uses below a third.
const CLASS_ROOM: [u8; 14] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128];

/// Arenas from this size on ask for huge pages.
const HUGE_BYTES_MIN: usize = 1 << 21;

/// Items of the largest run.
const RUN_MAX: usize = 128;

/// The class for a run of each length from 1 to 128.
const CLASS_OF_LENGTH: [u8; RUN_MAX + 1] = class_of_length();

const fn class_of_length() -> [u8; RUN_MAX + 1] {
    let mut classes = [0; RUN_MAX + 1];
    let mut length = 1;
    while length <= RUN_MAX {
        let mut class = 0;
        while (CLASS_ROOM[class] as usize) < length {
            class += 1;
        }
        classes[length] = class as u8;
        length += 1;
    }
    classes
}

/// An empty vector with room for so many items, in huge pages if it is large.
fn room_for<T>(items: usize) -> Vec<T> {
    let mut room = Vec::with_capacity(items);
    if items * size_of::<T>() >= HUGE_BYTES_MIN {
        advise_huge_pages(room.spare_capacity_mut());
    }
    room
}

/// The arena. A run is named by the number of its first item; its length is its owner's to know.
#[derive(Debug, Clone)]
pub(super) struct Arena<T> {
    items: Vec<T>,
    free: [Vec<u32>; CLASS_ROOM.len()],
}

impl<T: Copy + Default> Arena<T> {
    /// An arena whose first items are for good: they belong to no run.
    pub(super) fn new(fixed: usize) -> Self {
        let mut items = room_for(fixed);
        items.resize(fixed, T::default());
        Self { items, free: Default::default() }
    }

    /// All items, for reading by number.
    #[inline(always)]
    pub(super) fn items(&self) -> &[T] {
        &self.items
    }

    /// One item, for changing.
    pub(super) fn item_mut(&mut self, at: u32) -> &mut T {
        &mut self.items[at as usize]
    }

    /// Inserts `item` as number `position` into the run of `length` items at `base`, and returns
    /// where the run is now. A run of length 0 has no base; any number will do.
    pub(super) fn insert(&mut self, base: u32, length: usize, position: usize, item: T) -> u32 {
        let class = CLASS_OF_LENGTH[length + 1];
        let base = if length == 0 {
            self.allocate(class)
        } else if class != CLASS_OF_LENGTH[length] {
            self.relocate(base, length, class)
        } else {
            base
        };
        let run = &mut self.items[base as usize..][..=length];
        run.copy_within(position..length, position + 1);
        run[position] = item;
        base
    }

    /// Removes item `position` of the run of `length` items at `base`, and returns where the run
    /// is now; nowhere (0) if it was the last.
    pub(super) fn remove(&mut self, base: u32, length: usize, position: usize) -> u32 {
        self.items[base as usize..][..length].copy_within(position + 1.., position);
        let class = CLASS_OF_LENGTH[length];
        if length == 1 {
            self.free[usize::from(class)].push(base);
            return 0;
        }
        match CLASS_OF_LENGTH[length - 1] {
            smaller if smaller != class => self.relocate(base, length - 1, smaller),
            _ => base,
        }
    }

    /// Puts `items` in place of the run of `length` items at `base`, and returns where the run is now;
    /// nowhere (0) if there are none.
    pub(super) fn replace(&mut self, base: u32, length: usize, items: &[T]) -> u32 {
        let (class, new_class) = (CLASS_OF_LENGTH[length], CLASS_OF_LENGTH[items.len()]);
        let stays = length > 0 && class == new_class && !items.is_empty();
        if length > 0 && !stays {
            self.free[usize::from(class)].push(base);
        }
        let base = match items.is_empty() {
            true => return 0,
            false if stays => base,
            false => self.allocate(new_class),
        };
        self.items[base as usize..][..items.len()].copy_from_slice(items);
        base
    }

    /// Bytes taken from the allocator.
    pub(super) fn memory_bytes(&self) -> usize {
        let free: usize = self.free.iter().map(Vec::capacity).sum();
        self.items.capacity() * size_of::<T>() + free * size_of::<u32>()
    }

    /// Room for a run of this class, from the removed ones if there are any.
    fn allocate(&mut self, class: u8) -> u32 {
        let class = usize::from(class);
        self.free[class].pop().unwrap_or_else(|| {
            let base = u32::try_from(self.items.len()).expect("an arena has fewer than 2^32 items");
            let end = self.items.len() + usize::from(CLASS_ROOM[class]);
            if end > self.items.capacity() {
                // An eighth at a time: doubling would leave half the memory of a large table unused.
                let mut items = room_for(end + end / 8 + RUN_MAX);
                items.extend_from_slice(&self.items);
                self.items = items;
            }
            self.items.resize(end, T::default());
            base
        })
    }

    /// Moves the first `length` items of a run to room of another class. They fit in both, and
    /// are one below or at the limit between the two.
    fn relocate(&mut self, base: u32, length: usize, class: u8) -> u32 {
        let to = self.allocate(class);
        self.items.copy_within(base as usize..base as usize + length, to as usize);
        // Growing leaves the class of `length`, shrinking that of `length + 1`.
        let left = match CLASS_OF_LENGTH[length] {
            same if same == class => CLASS_OF_LENGTH[length + 1],
            other => other,
        };
        self.free[usize::from(left)].push(base);
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_grows_and_shrinks_in_order_and_its_room_is_used_again() {
        let mut arena = Arena::new(3);
        let mut room = 0;
        for round in 0..3 {
            let mut base = 0;
            let mut model = Vec::new();
            for length in 0..RUN_MAX {
                let position = length * 7 % (length + 1);
                base = arena.insert(base, length, position, length as u32);
                model.insert(position, length as u32);
                assert_eq!(arena.items()[base as usize..][..=length], model);
            }
            for length in (1..=RUN_MAX).rev() {
                let position = length * 5 % length;
                base = arena.remove(base, length, position);
                model.remove(position);
                assert_eq!(arena.items()[base as usize..][..length - 1], model);
            }
            assert_eq!(base, 0);
            if round == 0 {
                room = arena.items().len();
            }
            assert_eq!(arena.items().len(), room, "round {round} took new room");
        }
    }
}

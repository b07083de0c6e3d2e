//! Many numbers of which few are different, such as the weights of edges.

use ahash::AHashMap;

/// The largest number of distinct values that 16 bits can tell apart.
const FEW: usize = 1 << 16;

/// A list of numbers. It takes two bytes for each while only few of them are different.
#[derive(Debug, Clone)]
pub enum Numbers<T> {
    /// The different numbers, and which of them each is.
    Few {
        /// The different numbers, by first appearance.
        values: Vec<T>,
        /// The place of each number in `values`.
        of: Vec<u16>,
    },
    /// The numbers.
    Many(Vec<T>),
}

/// Makes a list of numbers that come one after another.
pub struct Builder<T> {
    numbers: Numbers<T>,
    /// The place of each number in `values`, by its bits.
    places: AHashMap<u64, u16>,
    bits: fn(T) -> u64,
}

impl<T: Copy> Builder<T> {
    /// An empty list for so many numbers. `bits` tells different ones apart.
    pub fn new(count: usize, bits: fn(T) -> u64) -> Self {
        let numbers = Numbers::Few {
            values: Vec::new(),
            of: Vec::with_capacity(count),
        };
        Builder {
            numbers,
            places: AHashMap::new(),
            bits,
        }
    }

    /// Adds a number.
    pub fn push(&mut self, number: T) {
        let (values, of) = match &mut self.numbers {
            Numbers::Few { values, of } => (values, of),
            Numbers::Many(all) => return all.push(number),
        };
        let bits = (self.bits)(number);
        // Neighbours are often the same.
        let last = of.last().copied();
        let last = last.filter(|last| (self.bits)(values[usize::from(*last)]) == bits);
        let place = last.or_else(|| self.places.get(&bits).copied());
        if let Some(place) = place {
            of.push(place);
        } else if values.len() < FEW {
            let place = values.len() as u16;
            self.places.insert(bits, place);
            values.push(number);
            of.push(place);
        } else {
            let mut all = Vec::with_capacity(of.capacity());
            all.extend(of.iter().map(|place| values[usize::from(*place)]));
            all.push(number);
            self.numbers = Numbers::Many(all);
        }
    }

    /// The list.
    pub fn finish(mut self) -> Numbers<T> {
        match &mut self.numbers {
            Numbers::Few { of, .. } => of.shrink_to_fit(),
            Numbers::Many(all) => all.shrink_to_fit(),
        }
        self.numbers
    }
}

impl<T: Copy> Numbers<T> {
    /// A number.
    ///
    /// # Panics
    /// When there is none in this place.
    pub fn at(&self, place: usize) -> T {
        match self {
            Numbers::Few { values, of } => values[usize::from(of[place])],
            Numbers::Many(all) => all[place],
        }
    }

    /// All different numbers, some of them perhaps several times.
    pub fn values(&self) -> &[T] {
        match self {
            Numbers::Few { values, .. } => values,
            Numbers::Many(all) => all,
        }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Numbers::Few { of, .. } => of.len(),
            Numbers::Many(all) => all.len(),
        }
    }

    /// Whether there is no number.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_whether_few_or_many_are_different() {
        for (different, few) in [(3, true), (FEW, true), (FEW + 1, false)] {
            let number = |i: usize| (i % different) as f32 / 8.0;
            let mut all = Builder::new(0, |x: f32| u64::from(x.to_bits()));
            (0..FEW + 9).for_each(|i| all.push(number(i)));
            let all = all.finish();
            assert_eq!(matches!(all, Numbers::Few { .. }), few, "{different}");
            assert!((0..FEW + 9).all(|i| all.at(i) == number(i)));
            assert_eq!((all.len(), all.is_empty()), (FEW + 9, false));
            assert!((0..different).all(|i| all.values()[i] == number(i)));
        }
    }
}

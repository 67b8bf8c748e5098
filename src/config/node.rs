//! One node of many: its number, and its slice of the passive ports.

use super::PortRange;
use super::value::{ConfigWord, expected, parsed};
use crate::error::{Error, ErrorKind};

/// Node I of N, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// This node's number.
    pub number: u16,
    /// How many nodes there are.
    pub count: u16,
}

impl Node {
    /// This node's part of `ports`: parts are disjoint, together they are all,
    /// and none is more than one port larger than another. A balancer that
    /// sends each part to its node needs no stickiness.
    ///
    /// `None` when there are fewer ports than nodes.
    pub fn slice(&self, ports: PortRange) -> Option<PortRange> {
        let total = ports.count();
        let (number, count) = (u32::from(self.number), u32::from(self.count));
        if total < count {
            return None;
        }
        let begin = |number: u32| {
            u32::from(ports.first)
                + (u64::from(total) * u64::from(number) / u64::from(count)) as u32
        };
        Some(PortRange {
            first: begin(number - 1) as u16,
            last: (begin(number) - 1) as u16,
        })
    }
}

impl ConfigWord for Node {
    fn read(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        match parts.map(|(number, count)| (number.parse::<u16>(), count.parse::<u16>())) {
            Some((Ok(number), Ok(count))) if 1 <= number && number <= count => {
                Ok(Node { number, count })
            }
            _ => expected("a number and how many there are, such as 3/10", text),
        }
    }

    fn show(&self) -> String {
        format!("{}/{}", self.number, self.count)
    }
}

parsed!(Node);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_disjoint_and_together_everything() {
        for (first, last, count) in [
            (50000, 50999, 10),
            (50000, 50010, 3),
            (1, 65535, 7),
            (5, 5, 1),
        ] {
            let ports = PortRange { first, last };
            let mut next = u32::from(first);
            for number in 1..=count {
                let slice = Node { number, count }.slice(ports).unwrap();
                assert_eq!(u32::from(slice.first), next);
                assert!(slice.last >= slice.first);
                next = u32::from(slice.last) + 1;
            }
            assert_eq!(next, u32::from(last) + 1);
        }
        assert_eq!(
            Node {
                number: 1,
                count: 3
            }
            .slice(PortRange { first: 5, last: 6 }),
            None
        );
        for wrong in ["", "3", "0/3", "4/3", "a/3", "1/0"] {
            assert!(Node::read(wrong).is_err(), "{wrong}");
        }
    }
}

//! What a proxy can do to a request or its answer, and which requests it does it to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A request of Kafka's protocol, as far as rules tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// Records to append.
    Produce,
    /// Records to read.
    Fetch,
    /// Where partitions begin and end.
    ListOffsets,
    /// Brokers, topics and leaders.
    Metadata,
    /// Any other, by its key.
    Other(i16),
}

impl Api {
    pub(super) fn of(key: i16) -> Api {
        match key {
            0 => Api::Produce,
            1 => Api::Fetch,
            2 => Api::ListOffsets,
            3 => Api::Metadata,
            key => Api::Other(key),
        }
    }
}

/// Something that goes wrong with one request, or with its connection from it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request does not reach the broker, and its connection is closed.
    Drop,
    /// The first half of the request reaches the broker, and its connection is closed.
    CutRequest,
    /// The request is handled by the broker, its answer is lost, and the connection is closed.
    SwallowAnswer,
    /// As [`Fault::SwallowAnswer`], but the connection stays open and is silent from then on.
    SwallowAnswerSilently,
    /// The first half of the answer comes, and the connection is closed.
    CutAnswer,
    /// The answer, and everything behind it, comes later by so much.
    Delay(Duration),
    /// The request is kept back until [`Proxy::deliver_held`](super::Proxy::deliver_held); the connection is closed.
    Hold,
    /// As [`Fault::Hold`], with everything that follows on the connection, which stays open and is silent from then on.
    HoldSilently,
    /// Nothing of the connection goes either way any more, and it stays open.
    BlackHole,
    /// What is held reaches the broker just before this request does.
    DeliverHeldFirst,
}

impl Fault {
    /// A word for counts and messages.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Drop => "dropped request",
            Fault::CutRequest => "cut request",
            Fault::SwallowAnswer => "swallowed answer",
            Fault::SwallowAnswerSilently => "swallowed answer, silence",
            Fault::CutAnswer => "cut answer",
            Fault::Delay(_) => "delayed answer",
            Fault::Hold => "held request",
            Fault::HoldSilently => "held connection",
            Fault::BlackHole => "black hole",
            Fault::DeliverHeldFirst => "late request first",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A fault for requests of one kind.
#[derive(Debug)]
struct Rule {
    api: Api,
    fault: Fault,
    skip: usize,
    times: usize,
}

/// Faults at random.
#[derive(Debug)]
struct Chaos {
    dice: StdRng,
    /// One request in so many fails.
    one_in: u32,
}

/// What is to go wrong, and what has.
#[derive(Debug, Default)]
pub(super) struct Plan {
    rules: Vec<Rule>,
    chaos: Option<Chaos>,
    counts: BTreeMap<&'static str, u64>,
    requests: BTreeMap<Api, u64>,
}

impl Plan {
    pub(super) fn add(&mut self, fault: Fault, api: Api, skip: usize, times: usize) {
        self.rules.push(Rule {
            api,
            fault,
            skip,
            times,
        });
    }

    pub(super) fn at_random(&mut self, seed: u64, one_in: u32) {
        let dice = StdRng::seed_from_u64(seed);
        self.chaos = Some(Chaos { dice, one_in });
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
        self.chaos = None;
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }

    pub(super) fn requests(&self, api: Api) -> u64 {
        self.requests.get(&api).copied().unwrap_or(0)
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Decides what becomes of a request that just came.
    pub(super) fn on_request(&mut self, api: Api) -> Option<Fault> {
        *self.requests.entry(api).or_default() += 1;
        let fault = self.by_rule(api).or_else(|| self.by_chance(api));
        if let Some(fault) = fault {
            self.count(fault.name());
        }
        fault
    }

    fn by_rule(&mut self, api: Api) -> Option<Fault> {
        let mut chosen = None;
        for rule in self.rules.iter_mut().filter(|rule| rule.api == api) {
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if rule.times > 0 && chosen.is_none() {
                rule.times -= 1;
                chosen = Some(rule.fault);
            }
        }
        chosen
    }

    fn by_chance(&mut self, api: Api) -> Option<Fault> {
        let Chaos { dice, one_in } = self.chaos.as_mut()?;
        if dice.random_range(0..*one_in) > 0 {
            return None;
        }
        let delay = Fault::Delay(Duration::from_millis(dice.random_range(1..300)));
        let choice = match dice.random_range(0..20) {
            0..=3 => Fault::Drop,
            4..=6 => Fault::CutRequest,
            7..=10 => Fault::SwallowAnswer,
            11 => Fault::SwallowAnswerSilently,
            12..=14 => Fault::CutAnswer,
            15..=16 => delay,
            // Only records that come late can do harm.
            17..=18 if api == Api::Produce => Fault::Hold,
            17..=18 => delay,
            _ => Fault::BlackHole,
        };
        Some(choice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_skip_and_end() {
        let mut plan = Plan::default();
        plan.add(Fault::Drop, Api::Produce, 1, 2);
        let faults: Vec<_> = (0..4).map(|_| plan.on_request(Api::Produce)).collect();
        assert_eq!(faults, [None, Some(Fault::Drop), Some(Fault::Drop), None]);
        assert_eq!(plan.on_request(Api::Fetch), None);
        assert_eq!(plan.counts(), [("dropped request", 2)].into());
        assert_eq!(plan.requests(Api::Produce), 4);
    }

    #[test]
    fn a_seed_gives_the_same_faults_again() {
        let faults = |seed| {
            let mut plan = Plan::default();
            plan.at_random(seed, 3);
            (0..100)
                .map(|_| plan.on_request(Api::Produce))
                .collect::<Vec<_>>()
        };
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
        assert!(faults(7).iter().flatten().count() > 10);
    }
}

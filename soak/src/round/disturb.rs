//! What happens to the cluster while backups and restores are at work, besides their kills.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use armory_kafka::Client;
use armory_testkit::{Ending, unique};
use rand::RngExt as _;

use super::Round;
use crate::command::Run;
use crate::model::Ledger;
use crate::summary::Summary;

impl Round<'_> {
    /// Something else than a kill happens.
    pub(super) fn disturb(
        &mut self,
        client: &Client,
        topic: &str,
        ledger: &Mutex<Ledger>,
    ) -> Result<()> {
        let event = match self.dice.random_range(0..100) {
            0..25 => {
                self.proxy.disconnect();
                "connections closed"
            }
            25..35 => {
                self.proxy.move_elsewhere()?;
                "brokers at other addresses"
            }
            35..45 => {
                let limit = self.dice.random_range(200_000..3_000_000);
                self.proxy.limit_bandwidth(Some(limit));
                "bandwidth limited"
            }
            45..60 => {
                let end = if self.dice.random() {
                    Ending::Commit
                } else {
                    Ending::Abort
                };
                let records = self.dice.random_range(1..30);
                self.kafka
                    .transaction(topic, &unique("soak-tx"), records, end)?;
                match end {
                    Ending::Abort => "transaction aborted",
                    _ => "transaction committed",
                }
            }
            60..70 => {
                self.delete_records(client, topic, ledger)?;
                "records deleted"
            }
            70..75 => {
                let partitions = self.kafka.topic(topic)?.partitions.len();
                let total = i32::try_from(partitions)? + 1;
                self.kafka.add_partitions(topic, total)?;
                "partition added"
            }
            75..90 => {
                self.kafka.pause()?;
                std::thread::sleep(Duration::from_millis(self.dice.random_range(100..2500)));
                self.kafka.resume()?;
                "broker paused"
            }
            _ if self.broker_kills == 0 => {
                self.restart_broker()?;
                "broker killed and started"
            }
            _ => return Ok(()),
        };
        Summary::count(&mut self.summary.events, event);
        Ok(())
    }

    fn restart_broker(&mut self) -> Result<()> {
        self.broker_kills += 1;
        self.kafka.kill()?;
        self.kafka.start_again()?;
        // What came later than a restart would come to a broker that has forgotten the producers of old records: no client can do anything against that.
        self.proxy.drop_held();
        Ok(())
    }

    fn delete_records(
        &mut self,
        client: &Client,
        topic: &str,
        ledger: &Mutex<Ledger>,
    ) -> Result<()> {
        let (partition, newest) = {
            let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let mut logs = ledger.acknowledged.iter();
            let Some((partition, log)) = logs.next() else {
                return Ok(());
            };
            let Some((newest, _)) = log.last_key_value() else {
                return Ok(());
            };
            (*partition, *newest)
        };
        let before = self.dice.random_range(0..=newest);
        let start = self
            .runtime
            .block_on(client.delete_records(topic, partition, before))?;
        self.trimmed = true;
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let deleted = ledger.deleted.entry(partition).or_default();
        *deleted = start.max(*deleted);
        Ok(())
    }

    /// Something happens while a restore runs.
    pub(super) fn disturb_restore(&mut self, run: &mut Run) -> Result<()> {
        let event = match self.dice.random_range(0..10) {
            0..4 => {
                self.kafka.pause()?;
                std::thread::sleep(Duration::from_millis(self.dice.random_range(100..2500)));
                self.kafka.resume()?;
                "broker paused"
            }
            4..7 => {
                self.proxy.move_elsewhere()?;
                "brokers at other addresses"
            }
            _ if self.broker_kills == 0 => {
                // Its batches that are under way must not come later than the restart.
                let wait = Duration::from_millis(self.dice.random_range(50..500));
                if run.wait(wait)?.is_some() {
                    return Ok(());
                }
                self.restart_broker()?;
                "broker killed and started"
            }
            _ => return Ok(()),
        };
        Summary::count(&mut self.summary.events, event);
        Ok(())
    }
}

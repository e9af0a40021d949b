//! The connections over which a client asks for metadata and administers: one a broker, made when first needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::connect::Address;
use crate::connection::Connection;
use crate::{Backoff, ClientConfig, Error};

#[derive(Debug, Default)]
pub(super) struct Pool {
    slots: Mutex<HashMap<Place, Arc<tokio::sync::Mutex<Slot>>>>,
}

/// A broker by its id and where it is, so that a broker that moved is connected to anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// `None` of a bootstrap server.
    pub(super) id: Option<i32>,
    pub(super) address: Address,
}

#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    error: Error,
    delays: Backoff,
    /// Before this, nobody tries again.
    again_at: Instant,
}

impl Pool {
    /// The connection to a broker. After a failure, everyone who asks within `reconnect.backoff.ms` gets the same error.
    pub(super) async fn get(
        &self,
        config: &ClientConfig,
        place: &Place,
    ) -> Result<Connection, Error> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(place.clone()).or_default())
        };
        let mut slot = slot.lock().await;
        if let Some(connection) = slot
            .connection
            .as_ref()
            .filter(|connection| !connection.is_closed())
        {
            return Ok(connection.clone());
        }
        slot.connection = None;
        if let Some(failed) = slot
            .failed
            .as_ref()
            .filter(|failed| Instant::now() < failed.again_at)
        {
            return Err(failed.error.clone());
        }
        match Connection::open(config, place.id, &place.address).await {
            Ok(connection) => {
                slot.failed = None;
                slot.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                let earlier = slot.failed.take().map(|failed| failed.delays);
                let mut delays = earlier.unwrap_or_else(|| config.reconnect_delays());
                let again_at = Instant::now() + delays.next_delay();
                slot.failed = Some(Failed {
                    error: error.clone(),
                    delays,
                    again_at,
                });
                Err(error)
            }
        }
    }
}

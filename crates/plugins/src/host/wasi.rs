//! WASI 0.2 as plugins see it: everything is there, and nothing is granted.
//!
//! Toolchains build plugins that import most of WASI whether they use it or not, so all of it is served. The parts that can
//! wait (`wasi:io/poll`, the blocking calls of `wasi:io/streams`, `wasi:clocks/monotonic-clock`) are our own: wasmtime-wasi
//! waits inside tokio, for as long as the guest says, and panics when that happens on a thread that drives async tasks.
//! Ours look at the deadline of the call, and trap when it has passed.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime::{Engine, Result, bail};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets, sync};
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, Pollable, StreamError, StreamResult, subscribe,
};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi_io::bindings::wasi::io as async_io;

use super::clock::Deadline;
use super::guest_state::GuestState;
use super::logs::GuestLog;

/// How long a waiting guest's thread sleeps before it looks again. Plugins have nothing to wait for but time.
const WAIT_STEP: Duration = Duration::from_millis(1);

/// Serves all of `wasi:cli/imports` 0.2.
pub(super) fn linker(engine: &Engine) -> Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    let network = sockets::network::LinkOptions::default();
    async_io::error::add_to_linker::<GuestState, HasTable>(l, |state| &mut state.table)?;
    sync::io::poll::add_to_linker::<_, HasIo>(l, GuestState::io)?;
    sync::io::streams::add_to_linker::<_, HasIo>(l, GuestState::io)?;
    clocks::monotonic_clock::add_to_linker::<_, HasIo>(l, GuestState::io)?;
    clocks::wall_clock::add_to_linker::<_, WasiClocks>(l, GuestState::clocks)?;
    random::random::add_to_linker::<_, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure::add_to_linker::<_, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    cli::stdin::add_to_linker::<_, HasIo>(l, GuestState::io)?;
    cli::stdout::add_to_linker::<_, HasIo>(l, GuestState::io)?;
    cli::stderr::add_to_linker::<_, HasIo>(l, GuestState::io)?;
    cli::exit::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, GuestState::filesystem)?;
    sync::filesystem::types::add_to_linker::<_, WasiFilesystem>(l, GuestState::filesystem)?;
    sockets::network::add_to_linker::<_, WasiSockets>(l, &network, GuestState::sockets)?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)?;
    sync::sockets::tcp::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)?;
    sync::sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)?;
    sync::sockets::udp::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)?;
    Ok(linker)
}

struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

struct HasIo;

impl HasData for HasIo {
    type Data<'a> = Io<'a>;
}

/// The parts of a guest's state that waiting and printing need.
struct Io<'a> {
    table: &'a mut ResourceTable,
    deadline: &'a Deadline,
    stdout: &'a GuestLog,
    stderr: &'a GuestLog,
}

impl GuestState {
    fn io(&mut self) -> Io<'_> {
        Io {
            table: &mut self.table,
            deadline: &self.deadline,
            stdout: &self.stdout,
            stderr: &self.stderr,
        }
    }
}

impl Io<'_> {
    /// Waits for a future that only time can make ready, until the call's deadline.
    ///
    /// Nobody wakes the future: it is asked again after every step. That is enough for what is served here, where streams
    /// are always ready and nothing but clocks ever has to be waited for.
    fn wait<T>(&mut self, future: impl AsyncFnOnce(&mut ResourceTable) -> T) -> Result<T> {
        let deadline = self.deadline;
        let mut future = pin!(future(self.table));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return Ok(value);
            }
            if deadline.has_passed() {
                bail!(WaitedTooLong);
            }
            std::thread::sleep(WAIT_STEP);
        }
    }

    fn wait_for_stream<T>(
        &mut self,
        future: impl AsyncFnOnce(&mut ResourceTable) -> StreamResult<T>,
    ) -> StreamResult<T> {
        self.wait(future).map_err(StreamError::Trap)?
    }
}

/// The trap of a guest that waits beyond the deadline of its call.
#[derive(Debug)]
pub(super) struct WaitedTooLong;

impl std::fmt::Display for WaitedTooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("waited beyond the deadline of the call")
    }
}

impl std::error::Error for WaitedTooLong {}

impl sync::io::poll::Host for Io<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        self.wait(async |table| async_io::poll::Host::poll(table, pollables).await)?
    }
}

impl sync::io::poll::HostPollable for Io<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        self.wait(async |table| async_io::poll::HostPollable::ready(table, pollable).await)?
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        self.wait(async |table| async_io::poll::HostPollable::block(table, pollable).await)?
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        async_io::poll::HostPollable::drop(self.table, pollable)
    }
}

impl clocks::monotonic_clock::Host for Io<'_> {
    fn now(&mut self) -> Result<u64> {
        Ok(nanoseconds(self.deadline.started().elapsed()))
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        let until = self
            .deadline
            .started()
            .checked_add(Duration::from_nanos(when));
        subscribe_to_time(self.table, until)
    }

    fn subscribe_duration(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        let until = Instant::now().checked_add(Duration::from_nanos(when));
        subscribe_to_time(self.table, until)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn subscribe_to_time(
    table: &mut ResourceTable,
    until: Option<Instant>,
) -> Result<Resource<DynPollable>> {
    let alarm = table.push(Alarm { until })?;
    subscribe(table, alarm)
}

/// Ready when a moment has come. A moment beyond what the machine's clock can express never comes.
struct Alarm {
    until: Option<Instant>,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Alarm {
    async fn ready(&mut self) {
        poll_fn(|_| match self.until {
            Some(until) if Instant::now() >= until => Poll::Ready(()),
            _ => Poll::Pending,
        })
        .await
    }
}

impl cli::stdin::Host for Io<'_> {
    fn get_stdin(&mut self) -> Result<Resource<DynInputStream>> {
        let closed: DynInputStream = Box::new(ClosedInputStream);
        Ok(self.table.push(closed)?)
    }
}

impl cli::stdout::Host for Io<'_> {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        let log: DynOutputStream = Box::new(self.stdout.clone());
        Ok(self.table.push(log)?)
    }
}

impl cli::stderr::Host for Io<'_> {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        let log: DynOutputStream = Box::new(self.stderr.clone());
        Ok(self.table.push(log)?)
    }
}

impl sync::io::streams::Host for Io<'_> {
    fn convert_stream_error(
        &mut self,
        error: StreamError,
    ) -> Result<sync::io::streams::StreamError> {
        use sync::io::streams::StreamError as Told;
        match error {
            StreamError::Closed => Ok(Told::Closed),
            StreamError::LastOperationFailed(error) => {
                Ok(Told::LastOperationFailed(self.table.push(error)?))
            }
            StreamError::Trap(trap) => Err(trap),
        }
    }
}

impl sync::io::streams::HostOutputStream for Io<'_> {
    fn drop(&mut self, stream: Resource<DynOutputStream>) -> Result<()> {
        self.wait(async |table| async_io::streams::HostOutputStream::drop(table, stream).await)?
    }

    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        async_io::streams::HostOutputStream::check_write(self.table, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        async_io::streams::HostOutputStream::write(self.table, stream, bytes)
    }

    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        self.wait_for_stream(async |table| {
            async_io::streams::HostOutputStream::blocking_write_and_flush(table, stream, bytes)
                .await
        })
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        async_io::streams::HostOutputStream::flush(self.table, stream)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.wait_for_stream(async |table| {
            async_io::streams::HostOutputStream::blocking_flush(table, stream).await
        })
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Result<Resource<DynPollable>> {
        async_io::streams::HostOutputStream::subscribe(self.table, stream)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        async_io::streams::HostOutputStream::write_zeroes(self.table, stream, len)
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        len: u64,
    ) -> StreamResult<()> {
        self.wait_for_stream(async |table| {
            async_io::streams::HostOutputStream::blocking_write_zeroes_and_flush(table, stream, len)
                .await
        })
    }

    fn splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        async_io::streams::HostOutputStream::splice(self.table, to, from, len)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        self.wait_for_stream(async |table| {
            async_io::streams::HostOutputStream::blocking_splice(table, to, from, len).await
        })
    }
}

impl sync::io::streams::HostInputStream for Io<'_> {
    fn drop(&mut self, stream: Resource<DynInputStream>) -> Result<()> {
        self.wait(async |table| async_io::streams::HostInputStream::drop(table, stream).await)?
    }

    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        async_io::streams::HostInputStream::read(self.table, stream, len)
    }

    fn blocking_read(
        &mut self,
        stream: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<Vec<u8>> {
        self.wait_for_stream(async |table| {
            async_io::streams::HostInputStream::blocking_read(table, stream, len).await
        })
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        async_io::streams::HostInputStream::skip(self.table, stream, len)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        self.wait_for_stream(async |table| {
            async_io::streams::HostInputStream::blocking_skip(table, stream, len).await
        })
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> Result<Resource<DynPollable>> {
        async_io::streams::HostInputStream::subscribe(self.table, stream)
    }
}

//! Standard error: progress bars on a terminal, a line now and then elsewhere, and logs that do not tear either.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often progress is told where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Where progress and messages go.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    bars: MultiProgress,
    terminal: bool,
    quiet: bool,
}

impl Console {
    pub(crate) fn new(quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let target = if terminal && !quiet {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Console {
            bars: MultiProgress::with_draw_target(target),
            terminal,
            quiet,
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes a line to standard error, above the bars.
    pub(crate) fn print(&self, text: &str) {
        self.write(format!("{text}\n").as_bytes());
    }

    /// Writes bytes to standard error, above the bars. That nobody reads them is no reason to stop.
    fn write(&self, bytes: &[u8]) {
        self.bars.suspend(|| {
            let _ = io::stderr().lock().write_all(bytes);
        });
    }

    /// Runs what writes to standard output, with the bars out of the way.
    pub(crate) fn suspend<R>(&self, work: impl FnOnce() -> R) -> R {
        self.bars.suspend(work)
    }

    /// The progress of one thing.
    pub(crate) fn progress(&self, label: String) -> Progress {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if self.terminal && !self.quiet {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Progress {
            bar,
            label,
            lines: !self.terminal && !self.quiet,
            told: Mutex::new(Instant::now()),
        }
    }
}

/// One bar, or one line now and then.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    label: String,
    lines: bool,
    told: Mutex<Instant>,
}

impl Progress {
    /// Tells how far it is: `done` of `total` where the end is known, and the rest in words.
    pub(crate) fn tell(&self, done: Option<(u64, u64)>, words: &str) {
        match done {
            Some((position, total)) => {
                if self.bar.length().is_none() {
                    self.bar
                        .set_style(style("{prefix} {bar:24} {percent:>3}% {msg}"));
                }
                self.bar.set_length(total);
                self.bar.set_position(position.min(total));
            }
            None => self.bar.set_style(style("{spinner} {prefix} {msg}")),
        }
        self.bar.set_prefix(self.label.clone());
        self.bar.set_message(words.to_owned());
        if self.lines && self.is_due() {
            let percent = done.filter(|(_, total)| *total > 0).map_or_else(
                String::new,
                |(position, total)| {
                    let percent = u128::from(position.min(total)) * 100 / u128::from(total);
                    format!("{percent} %, ")
                },
            );
            tracing::info!("{}: {percent}{words}", self.label);
        }
    }

    fn is_due(&self) -> bool {
        let mut told = self.told.lock().expect("no holder panics");
        let due = told.elapsed() >= LINE_EVERY;
        if due {
            *told = Instant::now();
        }
        due
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the template is a constant")
        .progress_chars("=> ")
}

/// Lets `tracing` write through the console.
impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Console {
    type Writer = ConsoleWriter;

    fn make_writer(&'a self) -> ConsoleWriter {
        ConsoleWriter(self.clone())
    }
}

/// Writes log lines; each comes in one piece.
#[derive(Debug)]
pub(crate) struct ConsoleWriter(Console);

impl io::Write for ConsoleWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

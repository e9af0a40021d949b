//! From the command line to jobs: documents are read and resolved, options become the same jobs.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use armory_resources::job::{
    BackupJob, JobFile, JobFileError, NamePattern, PluginEntry, PluginErrorPolicy, PluginLimits,
    PluginSource, RestoreJob, TopicSelection, WorkGroup, Worker,
};
use armory_resources::kinds::plugin::{WIT_VERSIONS, parse_config};
use armory_resources::{Jobs, ResourceSet};

use crate::args::{BackupArguments, Documents, PluginFlag, RestoreArguments};
use crate::exit::Usage;
use crate::memory;

/// The jobs of `armory backup`. Several share the memory.
pub(crate) fn backup_jobs(arguments: BackupArguments) -> anyhow::Result<Vec<BackupJob>> {
    let take_over = arguments.take_over;
    let memory = arguments.memory;
    let worker = arguments.worker.map(|worker| Worker {
        generation: arguments.group_generation,
        ..worker
    });
    let mut jobs = if let Some(file) = &arguments.documents.job {
        vec![job_file(file, JobFile::read_backup)?]
    } else if arguments.documents.files.is_empty() {
        vec![backup_job(arguments)?]
    } else {
        let bindings = bindings(&arguments.documents)?;
        let set = read_documents(&arguments.documents)?;
        announce(set.backup_jobs(&bindings)?)?
    };
    let share = jobs.len() as u64;
    let memory = memory.unwrap_or_else(memory::default_budget);
    for job in &mut jobs {
        job.take_over |= take_over;
        if let Some(worker) = worker_of(job, worker)? {
            job.worker = Some(worker);
        }
        job.memory_budget = memory / share;
    }
    Ok(jobs)
}

/// Which worker of a backup this process is; the group is as its document or the options say.
fn worker_of(job: &BackupJob, worker: Option<Worker>) -> Result<Option<Worker>, Usage> {
    let group = job.work_group.unwrap_or(WorkGroup {
        workers: 1,
        seed: 0,
    });
    let Some(worker) = worker else {
        if group.workers > 1 && job.worker.is_none() {
            let (name, workers) = (&job.name, group.workers);
            tracing::info!(
                "backup {name} is for {workers} workers; this process reads everything, --worker 0/{workers} would read one share"
            );
        }
        return Ok(None);
    };
    if worker.group.workers != group.workers {
        return Err(Usage(format!(
            "--worker {worker}: backup {} has {} by its spec.workGroup.workers",
            job.name,
            crate::format::plural(group.workers.into(), "worker")
        )));
    }
    Ok(Some(Worker { group, ..worker }))
}

fn backup_job(arguments: BackupArguments) -> anyhow::Result<BackupJob> {
    let storage = arguments.storage.context("--storage is required")?;
    let (streams, include): (Vec<_>, Vec<_>) = arguments
        .topics
        .into_iter()
        .partition(|matcher| matches!(matcher.pattern(), NamePattern::Literal(_)));
    let topics = TopicSelection {
        streams: streams.iter().map(ToString::to_string).collect(),
        include,
        exclude: arguments.exclude,
    };
    let mut job = BackupJob::new(
        arguments.name,
        arguments.kafka.endpoint(),
        arguments.s3.complete(storage),
        topics,
    );
    job.work_group = arguments.worker.map(|worker| WorkGroup {
        seed: arguments.seed.unwrap_or(0),
        ..worker.group
    });
    job.plugins = plugins(&arguments.plugin)?;
    job.compression = arguments.compression.and_then(|flag| flag.0);
    job.delete_after = arguments.delete_after;
    if let Some(size) = arguments.segment_size {
        job.rollover.size = size;
    }
    if let Some(time) = arguments.segment_time {
        job.rollover.timeout = time;
    }
    Ok(job)
}

/// The jobs of `armory restore`.
pub(crate) fn restore_jobs(arguments: RestoreArguments) -> anyhow::Result<Vec<RestoreJob>> {
    let allow_expiry = arguments.allow_expiry;
    let dead_letters = arguments.dead_letters;
    let memory = arguments.memory;
    let report = arguments.report.clone();
    let report = report.map(|report| arguments.s3.complete(report));
    let report_fallback = arguments.report_fallback.clone();
    let report_fallback = report_fallback.map(|report| arguments.s3.complete(report));
    let mut jobs = if let Some(file) = &arguments.documents.job {
        vec![job_file(file, JobFile::read_restore)?]
    } else if arguments.documents.files.is_empty() {
        vec![restore_job(arguments)?]
    } else {
        let bindings = bindings(&arguments.documents)?;
        let set = read_documents(&arguments.documents)?;
        announce(set.restore_jobs(&bindings)?)?
    };
    let memory = memory.unwrap_or_else(memory::default_budget);
    for job in &mut jobs {
        job.allow_expiry |= allow_expiry;
        job.dead_letters |= dead_letters;
        if let Some(report) = &report {
            job.report = Some(report.clone());
        }
        if let Some(report) = &report_fallback {
            job.report_fallback = Some(report.clone());
        }
        job.memory_budget = memory;
    }
    Ok(jobs)
}

fn restore_job(arguments: RestoreArguments) -> anyhow::Result<RestoreJob> {
    let storage = arguments.storage.context("--storage is required")?;
    let mappings = arguments.topics.into_iter().map(|topic| topic.0).collect();
    let mut job = RestoreJob::new(
        "armory",
        arguments.s3.complete(storage),
        arguments.kafka.endpoint(),
        mappings,
    );
    job.plugins = plugins(&arguments.plugin)?;
    job.create_topics = arguments.create_topics;
    Ok(job)
}

fn bindings(documents: &Documents) -> anyhow::Result<armory_resources::Bindings> {
    documents
        .bindings()
        .map_err(|error| Usage(error.to_string()).into())
}

/// Reads the file of `--job`.
fn job_file<J>(file: &Path, read: fn(&str) -> Result<J, JobFileError>) -> Result<J, Usage> {
    let (name, text) = read_named(file)?;
    read(&text).map_err(|error| Usage(format!("--job {name}: {error}")))
}

/// Reads the files of `-f`.
fn read_documents(documents: &Documents) -> anyhow::Result<ResourceSet> {
    let texts = documents.files.iter().map(|file| read_named(file));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let pairs = texts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    Ok(ResourceSet::read(pairs))
}

/// A file, or standard input, with what to call it.
fn read_named(file: &Path) -> Result<(String, String), Usage> {
    if file != Path::new("-") {
        return Ok((file.display().to_string(), read_file(file)?));
    }
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|error| Usage(format!("cannot read standard input: {error}")))?;
    Ok(("standard input".to_owned(), text))
}

fn read_file(file: &Path) -> Result<String, Usage> {
    std::fs::read_to_string(file)
        .map_err(|error| Usage(format!("cannot read {}: {error}", file.display())))
}

/// Tells what is worth knowing of the documents, and hands out their jobs.
fn announce<T>(jobs: Jobs<T>) -> Result<Vec<T>, Usage> {
    for note in &jobs.notes {
        tracing::warn!("{note}");
    }
    if jobs.jobs.is_empty() {
        let names = jobs.paused.join(", ");
        let message = format!("nothing to run: spec.enabled is false for {names}");
        return Err(Usage(message));
    }
    for name in &jobs.paused {
        tracing::info!("{name} is left out: spec.enabled is false");
    }
    Ok(jobs.jobs)
}

fn plugins(flags: &[PluginFlag]) -> Result<Vec<PluginEntry>, Usage> {
    flags.iter().map(plugin).collect()
}

fn plugin(flag: &PluginFlag) -> Result<PluginEntry, Usage> {
    let spec = match &flag.config {
        Some(file) => {
            let config = parse_config(&read_file(file)?);
            Some(config.map_err(|error| Usage(format!("{}: {error}", file.display())))?)
        }
        None => None,
    };
    let name = flag.file.file_name().unwrap_or(flag.file.as_os_str());
    Ok(PluginEntry {
        label: name.to_string_lossy().into_owned(),
        source: PluginSource::Wasi {
            file: flag.file.clone(),
            wit_version: WIT_VERSIONS[0].to_owned(),
        },
        spec,
        selectors: Vec::new(),
        error_policy: PluginErrorPolicy::default(),
        limits: PluginLimits::default(),
    })
}

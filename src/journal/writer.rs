//! Writing the journal. A record is formatted into a buffer, `write` hands the buffer to the kernel in one call, and a
//! thread syncs it to disk a little behind. So a kill of ours loses nothing that was believed, and a loss of power at
//! most what happened in [`SYNC_BEHIND`] and the sync itself. The thread sleeps while everything is synced.
//! After the first error nothing more is written: a line after a torn one would make the journal unreadable.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::event::Event;
use super::reader::End;
use super::record::{self, Chain, Encoder, ReceiptAt};
use super::{FILE, run, standing};
use crate::id::{RunId, TaskId};
use crate::model::Fleet;
use crate::protocol::run::RunRequest;
use crate::protocol::{Receipt, Run, RunStatus};
use crate::time::Stamp;

/// How long a written record may wait for its sync to begin. The promise is 50 ms, which leaves the sync ten.
pub const SYNC_BEHIND: Duration = Duration::from_millis(40);

/// The first record is written in pieces of this size, because it lists every task.
const PIECE_BYTES: usize = 64 << 10;

/// A run's journal, open for writing. One writer per run.
#[derive(Debug)]
pub struct Journal {
    run: RunId,
    encoder: Encoder,
    chain: Chain,
    /// The last sequence number given out.
    seq: u64,
    buffer: Vec<u8>,
    begun: Option<Stamp>,
    shared: Arc<Shared>,
    syncer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    file: File,
    /// Those above the journal, up to the workspace: without their names nobody finds it. Synced once, with the lock held.
    folders: Mutex<Vec<File>>,
    /// Something was written since the last sync began.
    dirty: AtomicBool,
    /// The first error, which every later call reports again.
    broken: AtomicBool,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closing: bool,
    error: Option<io::Error>,
}

impl Journal {
    /// Makes `journal.jsonl` in the run's folder, which must exist.
    ///
    /// # Errors
    /// When the file exists already or cannot be made.
    pub fn create(run_dir: &Path, run: &RunId) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(run_dir.join(FILE))?;
        Self::over(file, folders_above(run_dir)?, run)
    }

    /// Opens the journal of a run that was cut short, to be continued behind `end`; what is torn behind it is cut off.
    ///
    /// # Errors
    /// When there is none, or it cannot be written.
    pub fn reopen(run_dir: &Path, run: &RunId, end: End, created: Stamp) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(run_dir.join(FILE))?;
        if file.metadata()?.len() != end.offset {
            file.set_len(end.offset)?;
        }
        // Whoever was killed may not have come to that.
        let mut journal = Self::over(file, folders_above(run_dir)?, run)?;
        (journal.seq, journal.chain, journal.begun) = (end.seq, end.chain, Some(created));
        Ok(journal)
    }

    /// Writes that the run goes on.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn resume(&mut self, stamp: Stamp, fleet: &Fleet) -> io::Result<u64> {
        let run = run::resumed(&self.run, fleet, self.begun.unwrap_or(stamp), stamp);
        self.record_run(stamp, &run);
        self.write()?;
        Ok(self.seq)
    }

    fn record_run(&mut self, stamp: Stamp, run: &Run) {
        self.seq += 1;
        let from = self.buffer.len();
        self.chain.open(&mut self.buffer, self.seq);
        self.encoder.stamp(&mut self.buffer, stamp);
        self.buffer.extend_from_slice(b",\"run\":");
        record::json(&mut self.buffer, run);
        self.chain.close(&mut self.buffer, from, Sha256::new());
    }

    /// A journal in any file that is open for writing, whose name is in these folders.
    pub(super) fn over(file: File, folders: Vec<File>, run: &RunId) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            file,
            folders: Mutex::new(folders),
            dirty: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let syncer = std::thread::Builder::new().name("journal-sync".to_owned()).spawn(move || theirs.keep_synced())?;
        Ok(Self {
            run: run.clone(),
            encoder: Encoder::new(run),
            chain: Chain::default(),
            seq: 0,
            buffer: Vec::with_capacity(16 << 10),
            begun: None,
            shared,
            syncer: Some(syncer),
        })
    }

    /// Writes the first record: the run, with a task spec for each of `tasks`, one at a time.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn begin(
        &mut self,
        stamp: Stamp,
        fleet: &Fleet,
        tasks: impl IntoIterator<Item = TaskId>,
        request: &RunRequest,
    ) -> io::Result<u64> {
        self.begun = Some(stamp);
        self.seq += 1;
        let mut hasher = Sha256::new();
        let mut specs = tasks.into_iter().map(|task| run::task_spec(&fleet.tasks[task], fleet)).peekable();
        self.chain.open(&mut self.buffer, self.seq);
        self.encoder.stamp(&mut self.buffer, stamp);
        run::open(&mut self.buffer, &self.run, fleet);
        while let Some(spec) = specs.next() {
            record::json(&mut self.buffer, &spec);
            if specs.peek().is_some() {
                self.buffer.push(b',');
            }
            if self.buffer.len() >= PIECE_BYTES {
                hasher.update(&self.buffer);
                self.write()?;
            }
        }
        run::close(&mut self.buffer, stamp, fleet, request);
        self.chain.close(&mut self.buffer, 0, hasher);
        self.write()?;
        Ok(self.seq)
    }

    /// The sequence number the next record will have, so that a receipt can name its own.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.seq + 1
    }

    /// Formats the event into the buffer; nothing is believed before the next [`Self::write`]. Returns the sequence
    /// number, or 0 for what is not journaled. A receipt is written with that number as its `journal_seq`.
    pub fn record(&mut self, stamp: Stamp, event: &Event<'_>, fleet: &Fleet) -> u64 {
        if !event.is_journaled() {
            return 0;
        }
        self.seq += 1;
        let out = &mut self.buffer;
        let from = out.len();
        self.chain.open(out, self.seq);
        self.encoder.stamp(out, stamp);
        out.extend_from_slice(b",\"event\":");
        self.encoder.event(out, self.seq, stamp, event, fleet, ReceiptAt::Beside);
        if let Event::Settled { receipt, .. } = event {
            out.extend_from_slice(b",\"receipt\":");
            record::receipt(out, receipt, self.seq);
        }
        self.chain.close(out, from, Sha256::new());
        self.seq
    }

    /// Formats one record of receipts of results that stand before anything has run: of as many of them as fit into one,
    /// which is at least one. Returns its sequence number and how many. They are of one run, one moment and one result.
    pub fn stand(&mut self, stamp: Stamp, receipts: &[Receipt]) -> (u64, usize) {
        self.seq += 1;
        let out = &mut self.buffer;
        let from = out.len();
        self.chain.open(out, self.seq);
        self.encoder.stamp(out, stamp);
        out.extend_from_slice(b",\"standing\":");
        let count = standing::write(out, receipts);
        self.chain.close(out, from, Sha256::new());
        (self.seq, count)
    }

    /// Hands what is buffered to the kernel, in one call. Cheap when nothing is.
    ///
    /// # Errors
    /// What writing failed with, or syncing since the last call; and the same kind of error ever after.
    pub fn write(&mut self) -> io::Result<()> {
        self.shared.check()?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = (&self.shared.file).write_all(&self.buffer);
        self.buffer.clear();
        if let Err(error) = written {
            return Err(self.shared.fail(error));
        }
        self.shared.soil();
        Ok(())
    }

    /// Writes what is buffered and waits until all of it is on disk.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn sync_now(&mut self) -> io::Result<()> {
        self.write()?;
        self.shared.dirty.store(false, Ordering::Release);
        self.shared.sync().map_err(|error| self.shared.fail(error))
    }

    /// Writes the last record, the run as it ended, and syncs.
    ///
    /// # Errors
    /// As [`Self::write`]; also when somebody removed the file meanwhile, so that nobody will ever read it.
    pub fn end(mut self, stamp: Stamp, fleet: &Fleet, status: RunStatus, exit_code: u8) -> io::Result<()> {
        let ended = run::ended(&self.run, fleet, self.begun.unwrap_or(stamp), stamp, status, exit_code);
        self.record_run(stamp, &ended);
        self.sync_now()?;
        // `git clean -fdx` in a task is enough. Writing goes on without an error, into a file that has no name.
        if self.shared.file.metadata()?.nlink() == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the journal was removed while the run went on"));
        }
        Ok(())
    }
}

impl Drop for Journal {
    /// Stops the thread. What was written and not yet synced is left to the kernel: only [`Journal::end`] promises it.
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.wake.notify_one();
        if let Some(syncer) = self.syncer.take() {
            // The thread has no way to panic; if it did, the run's result is not its to change.
            let _ = syncer.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that there is something to sync; wakes the thread only if it may be asleep.
    fn soil(&self) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            // The lock orders this after the thread's look at `dirty`, so the wake-up cannot be lost.
            let _guard = self.state();
            self.wake.notify_one();
        }
    }

    fn check(&self) -> io::Result<()> {
        if !self.broken.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(self.state().error.as_ref().map_or_else(|| io::ErrorKind::Other.into(), again))
    }

    /// Keeps the first error and gives it back for the caller to report.
    fn fail(&self, error: io::Error) -> io::Error {
        self.broken.store(true, Ordering::Release);
        again(self.state().error.get_or_insert(error))
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_folders()?;
        self.file.sync_data()
    }

    fn sync_folders(&self) -> io::Result<()> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(folder) = folders.last() {
            folder.sync_all()?;
            folders.pop();
        }
        Ok(())
    }

    fn keep_synced(&self) {
        // At once, beside the first task: each sync waits for the disk, and a short run should wait for one.
        if let Err(error) = self.sync_folders() {
            self.fail(error);
            return;
        }
        let mut state = self.state();
        loop {
            while !self.dirty.load(Ordering::Acquire) && !state.closing {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            // Waiting a little first makes one sync of many records.
            state = self
                .wake
                .wait_timeout_while(state, SYNC_BEHIND, |state| !state.closing)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.closing {
                return;
            }
            drop(state);
            if self.dirty.swap(false, Ordering::AcqRel)
                && let Err(error) = self.sync()
            {
                self.fail(error);
                return;
            }
            state = self.state();
        }
    }
}

/// The run's folder, the folder of runs, the state directory and the workspace: any of the first three may be new.
fn folders_above(run_dir: &Path) -> io::Result<Vec<File>> {
    let mut folders = Vec::new();
    for folder in run_dir.ancestors().take(4) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        match File::open(folder) {
            Ok(folder) => folders.push(folder),
            // Who may enter the workspace and not list it can do no better.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && folders.len() == 3 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(folders)
}

/// A copy of an error, as far as one can be made.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

//! Results on their way to the shared cache: one thread, started by the first of them, so that no slow server holds up
//! a job that hashes or judges.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use super::reuse::Ground;
use crate::digest::Digest;
use crate::store::Store;
use crate::store::remote::RemoteEntry;

/// One result.
pub(super) struct Upload {
    pub fingerprint: Digest,
    pub entry: RemoteEntry,
    pub store: Arc<Store>,
}

#[derive(Default)]
pub(super) struct Uploads {
    sender: Option<Sender<Upload>>,
    thread: Option<JoinHandle<()>>,
}

impl Uploads {
    pub(super) fn push(&mut self, ground: &Arc<Ground>, upload: Upload) {
        if self.thread.is_none() {
            let (sender, uploads) = channel::<Upload>();
            let ground = Arc::clone(ground);
            // Without a thread nothing is shared, and nothing else is lost.
            self.thread = thread::Builder::new()
                .name("uploads".to_owned())
                .spawn(move || {
                    for upload in uploads {
                        if let Some(remote) = &ground.remote {
                            remote.publish(&upload.store, &upload.fingerprint, &upload.entry);
                        }
                    }
                })
                .ok();
            self.sender = Some(sender);
        }
        if let Some(sender) = &self.sender {
            let _ = sender.send(upload);
        }
    }

    pub(super) fn no_more(&mut self) {
        self.sender = None;
    }

    pub(super) fn are_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

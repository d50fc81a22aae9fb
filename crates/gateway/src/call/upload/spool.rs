//! A file without a name, in which an upload waits until it is known where it goes. It is gone when nobody holds it any
//! more, also after a crash.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use domain::Fault;
use futures_util::{Stream, stream};
use http_body::Frame;
use upstream::BoxError;

use super::no_spool;

/// So many bytes go to the disk, or come from it, at one time.
pub(super) const BLOCK: usize = 256 << 10;

/// Where uploads are stored, and how many bytes.
#[derive(Clone, Debug)]
pub struct SpoolSettings {
    /// The folder. `None`: the system's for temporary files.
    pub folder: Option<PathBuf>,
    /// The most bytes of all calls together.
    pub limit: u64,
}

/// One stored upload.
#[derive(Debug)]
pub(super) struct Spool {
    file: Arc<File>,
    /// Not written yet.
    waiting: BytesMut,
    written: u64,
    room: Room,
}

/// What a spool takes of the room that all have together; given back with it.
#[derive(Debug)]
struct Room {
    used: Arc<AtomicU64>,
    taken: u64,
    limit: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.used.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

impl Spool {
    /// Makes a file.
    pub(super) async fn open(settings: &SpoolSettings, used: &Arc<AtomicU64>) -> Result<Spool, Fault> {
        let folder = settings.folder.clone().unwrap_or_else(std::env::temp_dir);
        let shown = folder.display().to_string();
        let file = blocking(move || tempfile::tempfile_in(folder)).await.map_err(|error| {
            no_spool(&format!("uploads cannot be stored in {shown} (server.upload_spool_dir): {error}"))
        })?;
        let room = Room { used: used.clone(), taken: 0, limit: settings.limit };
        Ok(Spool { file: Arc::new(file), waiting: BytesMut::new(), written: 0, room })
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    /// Adds bytes.
    pub(super) async fn write(&mut self, bytes: &Bytes) -> Result<(), Fault> {
        let more = bytes.len() as u64;
        let before = self.room.used.fetch_add(more, Ordering::Relaxed);
        self.room.taken += more;
        if before.saturating_add(more) > self.room.limit {
            return Err(no_spool(
                "more bytes of uploads are to be stored than server.upload_spool_limit allows",
            ));
        }
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < BLOCK {
            return Ok(());
        }
        let (file, block, at) = (self.file.clone(), self.waiting.split().freeze(), self.written);
        self.written += block.len() as u64;
        let stored = blocking(move || file.write_all_at(&block, at)).await;
        stored.map_err(|error| {
            no_spool(&format!("an upload cannot be stored (server.upload_spool_dir): {error}"))
        })
    }

    /// Some of its bytes, in pieces.
    pub(super) fn read(
        self: &Arc<Self>,
        from: u64,
        length: u64,
    ) -> impl Stream<Item = Result<Frame<Bytes>, BoxError>> + Send + 'static {
        let spool = self.clone();
        stream::try_unfold((from, length), move |(at, left)| {
            let spool = spool.clone();
            async move {
                if left == 0 {
                    return Ok(None);
                }
                let piece = spool.piece(at, left).await?;
                let read = piece.len() as u64;
                Ok(Some((Frame::data(piece), (at + read, left - read))))
            }
        })
    }

    /// The next bytes from one place on.
    async fn piece(&self, at: u64, left: u64) -> Result<Bytes, BoxError> {
        if at >= self.written {
            let from = usize::try_from(at - self.written)?;
            let to = (from + BLOCK.min(usize::try_from(left)?)).min(self.waiting.len());
            return Ok(Bytes::copy_from_slice(&self.waiting[from..to]));
        }
        let size = left.min(self.written - at).min(BLOCK as u64);
        let (file, mut block) = (self.file.clone(), vec![0; usize::try_from(size)?]);
        let block = blocking(move || file.read_exact_at(&mut block, at).map(|()| block)).await?;
        Ok(block.into())
    }
}

/// Does something that waits for a disk, where it keeps nobody waiting.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

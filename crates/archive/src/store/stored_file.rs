//! A file of the store as the Parquet reader wants it: ranges, read as they are needed, so that memory does not grow with the file.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::{Buf, Bytes};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use super::{Store, diagnosis};
use crate::log::LogError;

/// Bytes asked for at once where the reader does not say how many it needs.
const READ_AHEAD: u64 = 32 * 1024;
/// Bytes asked for at once of a bucket, where a request takes as long for a few bytes as for so many, and the reader asks for each page of each
/// column.
const BLOCK: u64 = 128 * 1024;
/// Blocks of a file in memory: about one for each column.
const MOST_BLOCKS: usize = 16;
/// Bytes asked for at once where all are read.
const CHECKSUM_STEP: usize = 1 << 20;

/// An object of known size. Its methods block: to be used on threads that may.
#[derive(Clone, Debug)]
pub struct StoredFile {
    store: Store,
    location: Path,
    size: u64,
    runtime: Handle,
    failure: Arc<OnceLock<String>>,
    blocks: Arc<Blocks>,
}

/// Blocks that were read last, the newest last, by their numbers.
#[derive(Default)]
struct Blocks(Mutex<VecDeque<(u64, Bytes)>>);

impl Blocks {
    fn find(&self, number: u64) -> Option<Bytes> {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = blocks.iter().position(|(other, _)| *other == number)?;
        let found = blocks.remove(at)?;
        blocks.push_back(found.clone());
        Some(found.1)
    }

    fn keep(&self, number: u64, block: Bytes) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.push_back((number, block));
        if blocks.len() > MOST_BLOCKS {
            blocks.pop_front();
        }
    }
}

/// Without the bytes.
impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocks")
    }
}

impl StoredFile {
    /// An object of `size` bytes.
    pub fn new(store: Store, location: Path, size: u64) -> Self {
        Self { store, location, size, runtime: Handle::current(), failure: Arc::default(), blocks: Arc::default() }
    }

    /// Its whole name, for messages.
    pub fn name(&self) -> String {
        self.store.name_of(&self.location)
    }

    /// Its size in the store, which may be another one than the log says; none if it is not there.
    pub async fn size_there(&self) -> Result<Option<u64>, LogError> {
        match self.store.objects().head(&self.location).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.store.error(&self.location, &e)),
        }
    }

    /// Why the store could not be read, if that ever happened: then what was read says nothing about the file.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// The checksum of its bytes.
    pub fn checksum(&self) -> parquet::errors::Result<u128> {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for start in (0..self.size).step_by(CHECKSUM_STEP) {
            hash.update(&self.range(start, (CHECKSUM_STEP as u64).min(self.size - start))?);
        }
        Ok(hash.digest128())
    }

    fn range(&self, start: u64, length: u64) -> parquet::errors::Result<Bytes> {
        // Damaged metadata may ask for anything: checked before anything is read or allocated.
        let end = start.checked_add(length).filter(|&end| end <= self.size);
        let end = end.ok_or_else(|| {
            ParquetError::EOF(format!(
                "{length} bytes at offset {start} are outside the file, which has {} bytes",
                self.size
            ))
        })?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        if self.store.endpoint().is_some() && length < BLOCK {
            self.within_blocks(start, end)
        } else {
            self.ask(start, end)
        }
    }

    /// At most two blocks are needed.
    fn within_blocks(&self, start: u64, end: u64) -> parquet::errors::Result<Bytes> {
        let (first, last) = (start / BLOCK, (end - 1) / BLOCK);
        let begin = self.part_of_block(first, start, end.min((first + 1) * BLOCK))?;
        if first == last {
            return Ok(begin);
        }
        let rest = self.part_of_block(last, last * BLOCK, end)?;
        Ok([begin, rest].concat().into())
    }

    fn part_of_block(&self, number: u64, start: u64, end: u64) -> parquet::errors::Result<Bytes> {
        let offset = number * BLOCK;
        let block = match self.blocks.find(number) {
            Some(block) => block,
            None => {
                let block = self.ask(offset, self.size.min(offset + BLOCK))?;
                self.blocks.keep(number, block.clone());
                block
            }
        };
        let (start, end) = ((start - offset) as usize, (end - offset) as usize);
        if end > block.len() {
            return Err(ParquetError::EOF(format!(
                "the store has only {} bytes of a block at offset {offset}",
                block.len()
            )));
        }
        Ok(block.slice(start..end))
    }

    fn ask(&self, start: u64, end: u64) -> parquet::errors::Result<Bytes> {
        let read = self.runtime.block_on(self.store.objects().get_range(&self.location, start..end));
        read.map_err(|e| {
            let _ = self.failure.set(diagnosis::told(&e));
            ParquetError::External(Box::new(e))
        })
    }

    /// A part of the file in memory, which is then read without asking the store again.
    pub fn load(&self, start: u64, length: u64) -> parquet::errors::Result<LoadedRange> {
        Ok(LoadedRange { start, file_size: self.size, bytes: self.range(start, length)? })
    }
}

impl Length for StoredFile {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for StoredFile {
    type T = Sequential;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Sequential> {
        Ok(Sequential { file: self.clone(), at: start, ahead: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.range(start, length as u64)
    }
}

/// Reads on from some offset.
#[derive(Debug)]
pub struct Sequential {
    file: StoredFile,
    at: u64,
    ahead: Bytes,
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            let length = READ_AHEAD.min(self.file.size.saturating_sub(self.at));
            self.ahead = self.file.range(self.at, length).map_err(io::Error::other)?;
            self.at += length;
        }
        let count = self.ahead.len().min(buffer.len());
        let (Some(target), Some(source)) = (buffer.get_mut(..count), self.ahead.get(..count)) else { return Ok(0) };
        target.copy_from_slice(source);
        self.ahead.advance(count);
        Ok(count)
    }
}

/// A part of a file, addressed by the file's own offsets.
#[derive(Clone, Debug)]
pub struct LoadedRange {
    start: u64,
    file_size: u64,
    bytes: Bytes,
}

impl LoadedRange {
    fn at_offset(&self, offset: u64) -> parquet::errors::Result<Bytes> {
        let at = offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|&at| at <= self.bytes.len());
        Ok(self.bytes.slice(at.ok_or_else(|| ParquetError::EOF(format!("offset {offset} is outside the column")))?..))
    }
}

impl Length for LoadedRange {
    fn len(&self) -> u64 {
        self.file_size
    }
}

impl ChunkReader for LoadedRange {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.at_offset(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let bytes = self.at_offset(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!("{length} bytes at offset {start} are outside the column")));
        }
        Ok(bytes.slice(..length))
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::Location;

    /// Of a bucket; and what it holds.
    async fn file(size: u64) -> (StoredFile, Vec<u8>) {
        let store = Store::over(Location::parse("s3://lab/a").unwrap(), Arc::new(InMemory::new()));
        let store = store.asked_at("https://here");
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let path = Path::from("a/file");
        store.objects().put(&path, bytes.clone().into()).await.unwrap();
        (StoredFile::new(store, path, size), bytes)
    }

    fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> {
        let work = tokio::task::spawn_blocking(work);
        async { work.await.unwrap() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn blocks_hold_what_the_store_holds() {
        let size = MOST_BLOCKS as u64 * BLOCK + 3 * BLOCK / 2;
        let (file, bytes) = file(size).await;
        blocking(move || {
            for length in [1, 1000, BLOCK - 1, BLOCK, BLOCK + 1] {
                for start in (0..size - length).step_by(77_777).chain([BLOCK - 1, size - length]) {
                    let read = file.get_bytes(start, length as usize).unwrap();
                    assert!(read == bytes[start as usize..(start + length) as usize], "{length} at {start}");
                }
            }
            assert!(file.get_bytes(size - 1, 2).is_err());
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_small_file_of_a_bucket_takes_one_request() {
        let (file, bytes) = file(10_000).await;
        let read = file.clone();
        blocking(move || read.get_bytes(5_000, 10).unwrap()).await;
        file.store.objects().delete(&file.location).await.unwrap();
        blocking(move || {
            assert_eq!(file.get_bytes(0, 10_000).unwrap(), bytes);
            let mut sequential = Vec::new();
            file.get_read(100).unwrap().read_to_end(&mut sequential).unwrap();
            assert_eq!(sequential, bytes[100..]);
        })
        .await;
    }
}

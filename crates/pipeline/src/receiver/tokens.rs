//! The tokens file: read at the start, looked at again and again. What is in it: [`promarchive_api::tokens_file`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use promarchive_api::UnknownTokens;
use promarchive_api::tokens_file::{TokenSet, TokensError};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::metrics::Metrics;
use super::watched_file;

/// The tokens file as it is now; a handle that sees every change.
#[derive(Clone)]
pub(super) struct Tokens {
    current: watch::Receiver<Arc<TokenSet>>,
}

/// What looks after the file.
pub(super) struct TokensWatch {
    file: PathBuf,
    unknown: UnknownTokens,
    /// The text last looked at, good or bad.
    seen: Result<String, String>,
    current: watch::Sender<Arc<TokenSet>>,
}

impl Tokens {
    /// Reads `file`, which must be good.
    pub(super) async fn load(file: &Path, unknown: UnknownTokens) -> Result<(Self, TokensWatch), TokensError> {
        let seen = read(file).await;
        let set = interpret(file, &seen, unknown)?;
        advise(file, &set);
        let (sender, current) = watch::channel(Arc::new(set));
        Ok((Self { current }, TokensWatch { file: file.to_path_buf(), unknown, seen, current: sender }))
    }

    /// The tokens in force now.
    pub(super) fn current(&self) -> Arc<TokenSet> {
        self.current.borrow().clone()
    }
}

impl TokensWatch {
    /// Takes up changes of the file, every `poll`, for ever. A broken file changes nothing but the log.
    ///
    /// The text itself is compared: Kubernetes changes a mounted Secret by swapping links, with whatever times and
    /// lengths the new file has.
    pub(super) async fn run(mut self, poll: Duration, metrics: Arc<Metrics>) {
        loop {
            tokio::time::sleep(poll).await;
            self.look(&metrics).await;
        }
    }

    async fn look(&mut self, metrics: &Metrics) {
        let now = read(&self.file).await;
        if now == self.seen {
            return;
        }
        self.seen = now;
        match interpret(&self.file, &self.seen, self.unknown) {
            Ok(set) => {
                info!(file = %self.file.display(), tokens = set.len(), "reloaded the changed tokens file");
                advise(&self.file, &set);
                self.current.send_replace(Arc::new(set));
            }
            Err(reason) => {
                metrics.reload_failed("tokens");
                error!("{reason}; the previous tokens stay valid");
            }
        }
    }
}

fn advise(file: &Path, set: &TokenSet) {
    if let Some(advice) = set.advice() {
        warn!("{}: {advice}", file.display());
    }
}

async fn read(file: &Path) -> Result<String, String> {
    let file = file.to_path_buf();
    let bytes = tokio::task::spawn_blocking(move || watched_file::read(&file)).await;
    let bytes = bytes.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned())
}

fn interpret(file: &Path, seen: &Result<String, String>, unknown: UnknownTokens) -> Result<TokenSet, TokensError> {
    let file = file.display().to_string();
    match seen {
        Ok(text) => TokenSet::parse(&file, text, unknown),
        Err(reason) => Err(TokensError::Read { file, reason: reason.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use promarchive_api::tokens_file::TokenHash;

    use super::*;
    use crate::receiver::metrics::View;

    fn hash(token: &str) -> String {
        TokenHash::of(token).to_string()
    }

    fn name(tokens: &TokenSet, token: &[u8]) -> Option<String> {
        tokens.holder(token).map(|holder| holder.name.to_string())
    }

    #[tokio::test]
    async fn a_broken_file_keeps_the_old_tokens() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        assert!(matches!(Tokens::load(&file, UnknownTokens::Refuse).await, Err(TokensError::Read { .. })));
        std::fs::write(&file, format!("\u{feff}a {}\n", hash("one"))).unwrap();
        let (tokens, mut watch) = Tokens::load(&file, UnknownTokens::Refuse).await.unwrap();
        let metrics = Metrics::new();

        for broken in ["a nonsense\n", ""] {
            std::fs::write(&file, broken).unwrap();
            watch.look(&metrics).await;
            assert_eq!(name(&tokens.current(), b"one").as_deref(), Some("a"));
        }
        std::fs::remove_file(&file).unwrap();
        watch.look(&metrics).await;
        watch.look(&metrics).await;
        assert_eq!(name(&tokens.current(), b"one").as_deref(), Some("a"));
        assert!(metrics.text(View::Full).contains("promarchive_reload_failures_total{file=\"tokens\"} 3"));

        std::fs::write(&file, format!("b {}\n", hash("two"))).unwrap();
        watch.look(&metrics).await;
        assert_eq!(name(&tokens.current(), b"one"), None);
        assert_eq!(name(&tokens.current(), b"two").as_deref(), Some("b"));
    }

    /// A pipe must not hold up the looking: what comes after it counts.
    #[tokio::test]
    async fn a_pipe_keeps_the_old_tokens_until_there_is_a_file_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        std::fs::write(&file, format!("a {}\n", hash("one"))).unwrap();
        let (tokens, mut watch) = Tokens::load(&file, UnknownTokens::Refuse).await.unwrap();
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let metrics = Metrics::new();
        watch.look(&metrics).await;
        assert_eq!(name(&tokens.current(), b"one").as_deref(), Some("a"));
        assert!(metrics.text(View::Full).contains("promarchive_reload_failures_total{file=\"tokens\"} 1"));
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, format!("b {}\n", hash("two"))).unwrap();
        watch.look(&metrics).await;
        assert_eq!(name(&tokens.current(), b"one"), None);
        assert_eq!(name(&tokens.current(), b"two").as_deref(), Some("b"));
    }

    #[tokio::test]
    async fn a_swapped_link_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("old"), format!("a {}\n", hash("one"))).unwrap();
        std::fs::write(at("new"), format!("a {}\n", hash("two"))).unwrap();
        std::os::unix::fs::symlink(at("old"), at("tokens")).unwrap();
        let (tokens, mut watch) = Tokens::load(&at("tokens"), UnknownTokens::Refuse).await.unwrap();
        std::os::unix::fs::symlink(at("new"), at("next")).unwrap();
        std::fs::rename(at("next"), at("tokens")).unwrap();
        watch.look(&Metrics::new()).await;
        assert!(name(&tokens.current(), b"two").is_some() && name(&tokens.current(), b"one").is_none());
    }

    #[tokio::test]
    async fn where_unknown_tokens_may_retry_no_line_at_all_is_a_state() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        assert!(matches!(Tokens::load(&file, UnknownTokens::Retry).await, Err(TokensError::Read { .. })));
        std::fs::write(&file, "# nobody yet\n").unwrap();
        let (tokens, mut watch) = Tokens::load(&file, UnknownTokens::Retry).await.unwrap();
        let metrics = Metrics::new();
        std::fs::write(&file, format!("a {}\n", hash("one"))).unwrap();
        watch.look(&metrics).await;
        assert_eq!(name(&tokens.current(), b"one").as_deref(), Some("a"));
        std::fs::write(&file, "").unwrap();
        watch.look(&metrics).await;
        assert_eq!(name(&tokens.current(), b"one"), None, "the last sender lost its access");
        assert!(metrics.text(View::Full).contains("promarchive_reload_failures_total{file=\"tokens\"} 0"));
    }
}

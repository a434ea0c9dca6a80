//! `promarchive-cluster`: a test cluster by hand.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use promarchive_cluster::{Cluster, Error, Image, Options, Result, Shape};

/// Starts and ends Kubernetes clusters for tests on this machine, without a container engine. Needs root and Linux.
#[derive(Debug, Parser)]
#[command(name = "promarchive-cluster", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster, and return when it is ready; it goes on until `down`.
    #[command(
        after_help = "Example:\n  promarchive-cluster up --name demo\n  promarchive-cluster exec --name demo kubectl get nodes"
    )]
    Up(Up),
    /// End a cluster and remove everything of it.
    #[command(after_help = "Example:\n  promarchive-cluster down --name demo")]
    Down(Down),
    /// Which clusters there are, and which of their parts run.
    #[command(after_help = "Example:\n  promarchive-cluster status")]
    Status,
    /// Run a program in the network of a cluster, as its administrator; kubectl, helm and ctr are in PATH.
    #[command(
        after_help = "Example:\n  promarchive-cluster exec kubectl get pods --all-namespaces\n  promarchive-cluster exec bash"
    )]
    Exec(Exec),
    /// Import image archives into the node of a cluster.
    #[command(after_help = "Example:\n  promarchive-cluster load-image --name demo promarchive.tar")]
    LoadImage(LoadImage),
    /// Write an image as an OCI archive, from files alone; the same files make the same archive.
    #[command(
        after_help = "Example:\n  promarchive-cluster image --name ghcr.io/promarchive/promarchive --tag 0.1.0 \\\n    \
                      --entrypoint /promarchive -o promarchive.tar target/release/promarchive"
    )]
    Image(ImageArguments),
}

#[derive(Debug, Args)]
struct Name {
    /// Name of the cluster.
    #[arg(long, default_value = "default")]
    name: String,
}

#[derive(Debug, Args)]
struct Up {
    #[command(flatten)]
    name: Name,
    /// Directory for everything of it; must be empty or not there [default: promarchive-cluster-NAME in /tmp].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only etcd, the API server and the controller manager: no pods.
    #[arg(long)]
    control_plane_only: bool,
    /// Also install the Prometheus Operator and the image of Prometheus.
    #[arg(long, conflicts_with = "control_plane_only")]
    prometheus_operator: bool,
    /// Also make so many PersistentVolumes of each access mode, of the StorageClass `local`, 100 GiB each.
    #[arg(long, value_name = "COUNT", default_value_t = 0, conflicts_with = "control_plane_only")]
    volumes: usize,
}

#[derive(Debug, Args)]
struct Down {
    #[command(flatten)]
    name: Name,
    /// Leave the logs.
    #[arg(long)]
    keep_logs: bool,
}

#[derive(Debug, Args)]
struct Exec {
    #[command(flatten)]
    name: Name,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, Args)]
struct LoadImage {
    #[command(flatten)]
    name: Name,
    /// OCI or Docker archives.
    #[arg(required = true)]
    archives: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ImageArguments {
    /// Full name without the tag.
    #[arg(long)]
    name: String,
    /// Its tag.
    #[arg(long)]
    tag: String,
    /// What a container runs.
    #[arg(long)]
    entrypoint: String,
    /// Who runs it: USER or USER:GROUP, as numbers.
    #[arg(long, default_value = "65532:65532")]
    user: String,
    /// NAME=VALUE, several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Where to write the archive.
    #[arg(short, long)]
    output: PathBuf,
    /// FILE or FILE:PATH, with the path in the image [default: /NAME of the file]; programs get their libraries.
    #[arg(required = true, value_name = "FILE[:PATH]")]
    files: Vec<String>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(arguments) => up(arguments),
        Command::Down(arguments) => promarchive_cluster::end(&arguments.name.name, arguments.keep_logs),
        Command::Status => status(),
        Command::Exec(arguments) => return exec(&arguments),
        Command::LoadImage(arguments) => {
            let cluster = Cluster::attach(&arguments.name.name)?;
            arguments.archives.iter().try_for_each(|archive| cluster.load_image(archive))
        }
        Command::Image(arguments) => image(&arguments),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn up(arguments: Up) -> Result<()> {
    let shape = if arguments.control_plane_only { Shape::ControlPlane } else { Shape::Node };
    let name = arguments.name.name;
    let mut cluster = Cluster::start(&Options { shape, name: Some(name.clone()), directory: arguments.dir })?;
    // If what follows fails, a person can look why.
    cluster.leave_running()?;
    if arguments.volumes > 0 {
        for access_mode in ["ReadWriteOncePod", "ReadWriteOnce"] {
            cluster.local_volumes(arguments.volumes, access_mode, "100Gi")?;
        }
    }
    if arguments.prometheus_operator {
        cluster.install_prometheus_operator()?;
    }
    print(&format!(
        "The cluster {name} is ready, in {}.\n\
         Look inside: promarchive-cluster exec --name {name} kubectl get pods --all-namespaces\n\
         End it:      promarchive-cluster down --name {name}\n",
        cluster.directory().display()
    ));
    Ok(())
}

fn status() -> Result<()> {
    for (name, directory) in promarchive_cluster::list() {
        print(&format!("{name}  {}\n", directory.display()));
        let cluster = Cluster::attach(&name)?;
        for part in cluster.parts() {
            let state = if cluster.is_running(part) { "runs" } else { "does not run" };
            print(&format!("  {:<24}{state}\n", part.name()));
        }
    }
    Ok(())
}

fn exec(arguments: &Exec) -> Result<ExitCode> {
    let cluster = Cluster::attach(&arguments.name.name)?;
    let Some((program, rest)) = arguments.command.split_first() else {
        return Ok(ExitCode::FAILURE);
    };
    let status = cluster.command(program).args(rest).status();
    let status = status.map_err(|source| Error::Start { program: program.clone(), source })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn image(arguments: &ImageArguments) -> Result<()> {
    let mut image = Image::new(&format!("{}:{}", arguments.name, arguments.tag));
    image = image.entrypoint(&[&arguments.entrypoint]).user(&arguments.user);
    for (name, value) in &arguments.labels {
        image = image.label(name, value);
    }
    for file in &arguments.files {
        let (source, path) = match file.split_once(':') {
            Some((source, path)) => (source, path.to_owned()),
            None => (file.as_str(), Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned()),
        };
        let source = Path::new(source);
        image = match is_program(source) {
            true => image.file(&path, 0o755, source)?.libraries_of(source)?,
            false => image.file(&path, 0o644, source)?,
        };
    }
    image.save(&arguments.output)
}

/// Whether its owner may execute it. A file that is not there is refused by whoever reads it.
fn is_program(source: &Path) -> bool {
    source.metadata().is_ok_and(|found| found.permissions().mode() & 0o100 != 0)
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a label is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn print(text: &str) {
    // A reader that has gone away is no fault.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

//! Docker and podman, each with a store of its own and one image.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::keeper::Keeper;
use super::{Missing, image, program_path, programs, root_for};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Docker,
    Podman,
}

/// An engine with the image of the tests.
#[derive(Debug)]
pub(crate) struct Containers {
    engine: Engine,
    keeper: Keeper,
    image: String,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// The one of this process.
    pub(crate) fn shared(self) -> Result<&'static Containers, Missing> {
        static DOCKER: OnceLock<Result<Containers, Missing>> = OnceLock::new();
        static PODMAN: OnceLock<Result<Containers, Missing>> = OnceLock::new();
        let shared = match self {
            Self::Docker => &DOCKER,
            Self::Podman => &PODMAN,
        };
        shared.get_or_init(|| Containers::start(self)).as_ref().map_err(Clone::clone)
    }
}

impl Containers {
    fn start(engine: Engine) -> Result<Self, Missing> {
        let wanted: &[_] = match engine {
            Engine::Docker => &[("dockerd", "docker.io"), ("docker", "docker.io"), ("unshare", "util-linux")],
            Engine::Podman => &[("podman", "podman"), ("runc", "runc")],
        };
        programs(wanted)?;
        root_for(engine.name())?;
        let busybox = program_path("busybox").filter(|path| image::is_static(path));
        let busybox = busybox.ok_or("there is no static busybox: on Debian, apt-get install busybox-static")?;
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let archive = folder.path().join("image.tar");
        let image = image::write(&busybox, &archive).map_err(|error| format!("the image: {error}"))?;
        let keeper = Keeper::start(&format!("{}.sh", engine.name()), &[archive.as_os_str()])?;
        Ok(Self { engine, keeper, image })
    }

    /// `sha256:…`, the id of the image.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// As a worker's `host`.
    pub(crate) fn host(&self) -> String {
        format!(r#"{{ kind = "{}", image = "{}" }}"#, self.engine.name(), self.image)
    }

    /// What a caller needs to reach this engine by its plain name: variables, given the PATH that it has.
    pub(crate) fn variables(&self, path: &OsStr) -> Vec<(&'static str, std::ffi::OsString)> {
        match self.engine {
            Engine::Docker => vec![("DOCKER_HOST", self.keeper.fact("docker_host").into())],
            Engine::Podman => {
                let own = PathBuf::from(self.keeper.fact("bin"));
                let folders = std::iter::once(own).chain(std::env::split_paths(path));
                vec![("PATH", std::env::join_paths(folders).expect("a PATH of folders"))]
            }
        }
    }

    /// The engine's own program.
    pub(crate) fn command(&self) -> Command {
        let program = match self.engine {
            Engine::Docker => Path::new("docker").to_owned(),
            Engine::Podman => Path::new(self.keeper.fact("bin")).join("podman"),
        };
        let mut command = Command::new(program);
        if self.engine == Engine::Docker {
            command.env("DOCKER_HOST", self.keeper.fact("docker_host"));
        }
        command
    }

    /// Where all of it is.
    pub(crate) fn folder(&self) -> &Path {
        let known = match self.engine {
            Engine::Docker => self.keeper.fact("log"),
            Engine::Podman => self.keeper.fact("bin"),
        };
        Path::new(known).parent().expect("it is in a folder")
    }

    /// The ids of all its containers, those that stand still too.
    pub(crate) fn containers(&self) -> Vec<String> {
        let output = self.command().args(["ps", "--all", "--quiet"]).output().expect("the engine's program is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }
}

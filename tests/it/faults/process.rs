//! A server in a process of its own, to be killed.

use super::checker;
use crate::support::{free_port, http, program};
use baton::demo::{claims, enrol_here};
use baton::person::Person;
use baton_protocol::enrolment::Kind;
use baton_sdk::keystore::{Kept, Keystore};
use baton_sdk::{Device, Servers, system_entropy};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// A server of one's own, in a process of its own.
pub struct Process {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Process {
    fn spawn(dir: &Path, port: u16, die_after: Option<&str>) -> Child {
        let mut command = Command::new(program());
        if let Some(request) = die_after {
            command.env("BATON_DIE_AFTER", request);
        }
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--admin-listen", "127.0.0.1:0"])
            .args(["--public-url", &format!("http://localhost:{port}"), "--data-dir"])
            .arg(dir)
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    pub async fn start() -> Self {
        let port = free_port();
        let dir = tempfile::tempdir().unwrap();
        let child = Self::spawn(dir.path(), port, None);
        let this = Self { child, dir, port };
        this.ready().await;
        this
    }

    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Answers requests: asked again until it does, bounded.
    async fn ready(&self) {
        for _ in 0..300 {
            if reqwest::get(format!("{}/broker/jwks", self.url())).await.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server did not come up");
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    pub async fn again(&mut self) {
        self.kill();
        self.child = Self::spawn(self.dir.path(), self.port, None);
        self.ready().await;
    }

    /// Starts again, to die once it has done `request` and before it answers.
    pub async fn dying_after(&mut self, request: &str) {
        self.kill();
        self.child = Self::spawn(self.dir.path(), self.port, Some(request));
        self.ready().await;
    }

    /// Whether it has died by itself, and comes back whole.
    pub async fn died_and_came_back(&mut self) {
        for _ in 0..300 {
            if self.child.try_wait().unwrap().is_some() {
                return self.again().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it did not die");
    }

    /// Ends the server and reads what it left.
    pub async fn checked(&mut self) {
        self.kill();
        checker::check(self.dir.path()).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A full device.
pub async fn device(process: &Process, person: &mut Person, name: &str) -> Arc<Device> {
    let kept = Kept::fresh(Servers::at(&process.url()), "baton-cli", &system_entropy());
    enrol_here(person, http(), Keystore::memory(), kept, &claims(name, Kind::Laptop)).await.unwrap()
}

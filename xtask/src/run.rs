//! Runs programs: their output is shown as it comes, and each line handed to who counts.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Starts cargo, the same that runs this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::workspace::root());
    command
}

/// Runs a program to its end, showing its output and handing each line to `line`. True when it
/// ended well.
pub(crate) fn watch(command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool> {
    println!("$ {}", shown(command));
    // One pipe for both, so that lines keep their order.
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child =
        command.spawn().with_context(|| format!("{} cannot be started", program(command)))?;
    // The command holds ends of the pipe: while it does, reading would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut lines = BufReader::new(reader);
    let mut bytes = Vec::new();
    while lines.read_until(b'\n', &mut bytes)? > 0 {
        let text = String::from_utf8_lossy(&bytes);
        print!("{text}");
        line(text.trim_end());
        bytes.clear();
    }
    Ok(child.wait()?.success())
}

/// Runs a program that must end well.
pub(crate) fn must(command: &mut Command) -> Result<()> {
    if !watch(command, |_| ())? {
        bail!("{} failed", shown(command));
    }
    Ok(())
}

/// What a program prints; `None` if it cannot be started or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// Whether a program of this name can be found.
pub(crate) fn found(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Does `install` unless the copy of `wanted` that the last installation left says that it was
/// done for the same content.
pub(crate) fn once(
    wanted: &Path,
    stamp: &Path,
    install: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let content =
        std::fs::read(wanted).with_context(|| format!("{} cannot be read", wanted.display()))?;
    if std::fs::read(stamp).is_ok_and(|done| done == content) {
        return Ok(());
    }
    install()?;
    if let Some(folder) = stamp.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(stamp, content)?;
    Ok(())
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn shown(command: &Command) -> String {
    let mut words = vec![program(command)];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

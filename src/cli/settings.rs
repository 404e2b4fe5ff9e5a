//! What options mean to the parts of the program, none of which knows the command line.

use std::ffi::OsStr;
use std::path::{self, PathBuf};

use super::options::Cli;
use crate::live::options::{CaptureOptions, Reception, Rules};
use crate::model::error::Error;
use crate::model::selection::SourcePorts;
use crate::service::sandbox;

impl Cli {
    /// How a capture is taken.
    pub fn capture_options(&self) -> CaptureOptions {
        CaptureOptions {
            keeps_records: self.keeps_records(),
            netns: self.netns.clone(),
            selection: self.filters.selection(),
            existing: self.existing,
            track: self.track,
            duration: self.duration,
            interval: self.interval,
            reset: self.reset,
            forget: self.forget,
            rules: (self.rules || self.denied).then_some(Rules {
                denied: self.denied,
                legacy: self.iptables_legacy,
            }),
            learn_names: self.learn_names,
            write: self.write.clone(),
            reception: Reception {
                source: self.source,
                unfit_for_kernel: self.unfit_for_kernel(),
                buffer: self.buffer,
                buffer_max: self.buffer_max.max(self.buffer),
                workers: self.workers,
                // A recording is to hold what the kernel sent, not what this list needs of it.
                prefilter: !self.no_prefilter && self.write.is_none() && !self.all_protocols,
                all_protocols: self.all_protocols,
                all_netns: self.all_netns,
                reliable: self.reliable,
                max_flows: self.max_flows,
                more_than_flows: self.needs_more_than_flows(),
                // A filter asks for what folding takes away.
                exact_ports: self.filters.source_ports == SourcePorts::Keep
                    || !self.filters.selection().sport.is_empty(),
            },
        }
    }

    /// What a daemon with these options goes on needing.
    pub fn needs(&self) -> sandbox::Needs {
        sandbox::Needs {
            all_netns: self.all_netns,
            other_netns: self.netns.is_some(),
            output: self.output.clone(),
            write: self.write.clone(),
            state: self.state.clone(),
            metrics_file: self.metrics_file.clone(),
            pid_file: self.pid_file.clone(),
        }
    }

    /// The same options with file names absolute, for a process that will leave its folder.
    ///
    /// Errors: a folder that is gone.
    pub fn absolute(&self) -> Result<Self, Error> {
        let absolute = |name: &PathBuf| {
            if name.as_os_str() == OsStr::new("-") {
                return Ok(name.clone());
            }
            path::absolute(name).map_err(|error| Error::file(name, error))
        };
        // With a slash it is a path.
        let named = |name: &String| {
            if !name.contains('/') {
                return Ok(name.clone());
            }
            let path = absolute(&PathBuf::from(name))?;
            Ok(path.to_string_lossy().into_owned())
        };
        Ok(Self {
            config: self.config.as_ref().map(absolute).transpose()?,
            output: absolute(&self.output)?,
            write: self.write.as_ref().map(absolute).transpose()?,
            pid_file: absolute(&self.pid_file)?,
            state: self.state.as_ref().map(absolute).transpose()?,
            metrics_file: self.metrics_file.as_ref().map(absolute).transpose()?,
            netns: self.netns.as_ref().map(named).transpose()?,
            watch: self.watch.iter().map(absolute).collect::<Result<_, _>>()?,
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::sources::tuning::Settings;

    #[test]
    fn options_that_are_not_given_are_what_the_doctor_looks_with() {
        let reception = Cli::parse_from(["conntracker"]).capture_options().reception;
        let settings = Settings::default();
        assert_eq!(reception.buffer, settings.buffer_bytes);
        assert_eq!(reception.buffer_max, settings.buffer_max_bytes);
        assert_eq!(reception.prefilter, settings.prefilter);
        assert!(!settings.all_namespaces && !settings.reliable);
    }
}

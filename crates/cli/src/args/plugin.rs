//! `--plugin FILE[,config=FILE]`

use std::path::PathBuf;

/// A plugin of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PluginFlag {
    /// The component.
    pub(crate) file: PathBuf,
    /// A YAML file with its configuration.
    pub(crate) config: Option<PathBuf>,
}

/// Reads a plugin. A comma that is not followed by `config=` is part of the file's name.
pub(crate) fn parse_plugin(text: &str) -> Result<PluginFlag, String> {
    let (file, config) = match text.rsplit_once(",config=") {
        Some((_, "")) => return Err("config= needs a file".to_owned()),
        Some((file, config)) => (file, Some(config.into())),
        None => (text, None),
    };
    if file.is_empty() {
        return Err("expected FILE[,config=FILE]".to_owned());
    }
    Ok(PluginFlag {
        file: file.into(),
        config,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_read() {
        let flag = |file: &str, config: Option<&str>| PluginFlag {
            file: file.into(),
            config: config.map(PathBuf::from),
        };
        assert_eq!(parse_plugin("a.wasm"), Ok(flag("a.wasm", None)));
        assert_eq!(
            parse_plugin("a,b.wasm,config=c.yaml"),
            Ok(flag("a,b.wasm", Some("c.yaml")))
        );
        assert!(parse_plugin("").is_err());
        assert!(parse_plugin("a.wasm,config=").is_err());
        assert!(parse_plugin(",config=a").is_err());
    }
}

//! Links between documents lead somewhere. Links to the web are not followed.

use std::path::{Component, Path, PathBuf};

use super::markdown::Document;

/// Links whose file or heading is not there.
pub(crate) fn check(documents: &[Document], files: &[PathBuf]) -> Vec<String> {
    let mut found = Vec::new();
    for document in documents {
        for (line, link) in document.links() {
            if let Some(fault) = fault(document, &link, documents, files) {
                found.push(format!("{}:{line}: {fault}", document.path.display()));
            }
        }
    }
    found
}

fn fault(from: &Document, link: &str, documents: &[Document], files: &[PathBuf]) -> Option<String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
        return None;
    }
    let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
    let path = if file.is_empty() { from.path.clone() } else { resolve(&from.path, file) };
    // A directory is linked to as well as a file.
    if !files.iter().any(|known| known == &path || known.starts_with(&path)) {
        return Some(format!("`{link}` leads nowhere"));
    }
    let heading = heading?;
    let target = documents.iter().find(|document| document.path == path)?;
    (!target.anchors().iter().any(|anchor| anchor == heading))
        .then(|| format!("`{link}`: no such heading there"))
}

/// The path of `link` as seen from the root.
pub(crate) fn resolve(from: &Path, link: &str) -> PathBuf {
    let mut path = from.parent().map(Path::to_path_buf).unwrap_or_default();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::RootDir => path.clear(),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(link: &str) -> usize {
        let readme = Document::new(Path::new("README.md"), "# Keys\n");
        let page = Document::new(Path::new("docs/page.md"), &format!("# Page\n[x]({link})\n"));
        let files = ["README.md", "docs/page.md", "docs/adr/0001-a.md", "deny.toml"].map(PathBuf::from);
        check(&[readme, page], &files).len()
    }

    #[test]
    fn what_is_there_is_found() {
        let good = [
            "../README.md",
            "../README.md#keys",
            "#page",
            "adr/0001-a.md",
            "adr",
            "../deny.toml",
            "/README.md",
        ];
        for link in good {
            assert_eq!(faults(link), 0, "{link}");
        }
        assert_eq!(faults("https://valkey.io/commands"), 0);
    }

    #[test]
    fn what_is_not_there_is_reported() {
        for link in ["README.md", "../README.md#values", "#nowhere", "adr/0002-b.md", ""] {
            assert_eq!(faults(link), usize::from(!link.is_empty()), "{link}");
        }
    }
}

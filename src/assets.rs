//! What the chat page is made of, embedded in the program.

/// The page itself, with its placeholders.
pub const PAGE: &str = include_str!("../assets/chat.html");

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file that the page asks for, under `/-/`.
#[derive(Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its name, in the path and in the source tree.
    pub name: &'static str,
    /// The media type to send it as.
    pub content_type: &'static str,
    /// What it holds.
    pub text: &'static str,
}

/// All of them. `chat.js` begins; the other scripts are its modules.
pub static ASSETS: [Asset; 7] = [
    Asset { name: "chat.css", content_type: CSS, text: include_str!("../assets/chat.css") },
    Asset { name: "icon.svg", content_type: SVG, text: include_str!("../assets/icon.svg") },
    Asset { name: "chat.js", content_type: JS, text: include_str!("../assets/chat.js") },
    Asset { name: "log.js", content_type: JS, text: include_str!("../assets/log.js") },
    Asset { name: "page.js", content_type: JS, text: include_str!("../assets/page.js") },
    Asset { name: "view.js", content_type: JS, text: include_str!("../assets/view.js") },
    Asset { name: "write.js", content_type: JS, text: include_str!("../assets/write.js") },
];

impl Asset {
    /// The file of this name.
    pub fn named(name: &str) -> Option<&'static Asset> {
        ASSETS.iter().find(|asset| asset.name == name)
    }

    /// Whether it is a script.
    pub fn is_script(&self) -> bool {
        self.content_type == JS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that is there at once on a slow connection, before any compression.
    const MOST_BYTES: usize = 40_000;

    #[test]
    fn the_whole_page_is_small() {
        let size = PAGE.len() + ASSETS.iter().map(|asset| asset.text.len()).sum::<usize>();
        assert!(size <= MOST_BYTES, "{size} bytes");
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let files = std::fs::read_dir("assets").unwrap();
        for file in files.map(|file| file.unwrap().file_name().into_string().unwrap()) {
            assert!(file == "chat.html" || Asset::named(&file).is_some(), "{file}");
        }
    }
}

//! An SVG in, a PNG out. Letters are those of the machine's own fonts.

use anyhow::Context as _;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

/// Families to take, the first that is there.
const FAMILIES: [&str; 3] = ["DejaVu Sans", "Liberation Sans", "Noto Sans"];

/// A picture.
#[derive(Debug)]
pub struct Rendered {
    /// The file.
    pub png: Vec<u8>,
    /// Whether it has letters. A machine without fonts draws the rest all the same.
    pub letters: bool,
}

/// Renders it at its own size.
pub fn render(svg: &str) -> anyhow::Result<Rendered> {
    let mut options = Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_system_fonts();
    let family = family(fonts);
    let letters = family.is_some();
    // "sans-serif" stands for a font that few machines have.
    fonts.set_sans_serif_family(family.unwrap_or_default());
    let tree = Tree::from_str(svg, &options).context("the chart is no SVG")?;
    let size = tree.size().to_int_size();
    let mut pixels = Pixmap::new(size.width(), size.height()).context("the picture is too large")?;
    resvg::render(&tree, Transform::default(), &mut pixels.as_mut());
    Ok(Rendered { png: pixels.encode_png()?, letters })
}

fn family(fonts: &Database) -> Option<String> {
    let all = || fonts.faces().flat_map(|face| face.families.iter().map(|(name, _)| name));
    let known = FAMILIES.iter().find(|name| all().any(|found| found == *name));
    known.map(|name| (*name).to_owned()).or_else(|| all().next().cloned())
}

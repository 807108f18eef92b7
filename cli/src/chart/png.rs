//! An SVG in, a PNG out. Letters are those of the machine's own fonts.

use anyhow::{Context as _, bail};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

/// Renders it at its own size.
pub fn render(svg: &str) -> anyhow::Result<Vec<u8>> {
    let mut options = Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_system_fonts();
    // "sans-serif" stands for a font that few machines have.
    let Some(family) = fonts.faces().find_map(|face| Some(face.families.first()?.0.clone())) else {
        bail!(
            "this machine has no fonts for the letters of a PNG; install some (fonts-dejavu-core), or write an .svg"
        );
    };
    let has = |fonts: &resvg::usvg::fontdb::Database, name: &str| {
        fonts.faces().any(|face| face.families.iter().any(|(family, _)| family == name))
    };
    let known = ["DejaVu Sans", "Liberation Sans", "Noto Sans"].into_iter().find(|name| has(fonts, name));
    fonts.set_sans_serif_family(known.map_or(family, str::to_owned));
    let tree = Tree::from_str(svg, &options).context("the chart is no SVG")?;
    let size = tree.size().to_int_size();
    let mut pixels = Pixmap::new(size.width(), size.height()).context("the picture is too large")?;
    resvg::render(&tree, Transform::default(), &mut pixels.as_mut());
    Ok(pixels.encode_png()?)
}

// On a phone, a diagram keeps its size and scrolls by itself: shrunk to the screen, it could not be read.
// Material initializes Mermaid, and knows no setting for this.
if (globalThis.mermaid && matchMedia("(max-width: 45em)").matches) {
  const initialize = mermaid.initialize;
  mermaid.initialize = (config) => {
    const size = { useMaxWidth: false };
    initialize({ ...config, flowchart: size, state: size, sequence: { ...config.sequence, ...size } });
  };
}

// Runs in a page and returns what the tests check.
async () => {
  const article = document.querySelector("article") ?? document.body;
  const say = (element) => {
    const inside = element.parentElement?.closest("[id]");
    const text = element.textContent.trim().replace(/\s+/g, " ").slice(0, 40);
    return `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> "${text}" in #${inside?.id}`;
  };

  // Load lazy images now.
  const images = [...document.images];
  images.forEach((image) => (image.loading = "eager"));
  await Promise.all(images.map((image) => image.decode().catch(() => {})));
  await document.fonts.ready;
  await window.MathJax?.startup?.promise;
  await Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {})));

  const texts = (root, inside) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (node.data.trim() && inside(node.parentElement)) found.push(node);
    }
    return found;
  };

  const formulas = [...document.querySelectorAll(".math")];
  const prose = texts(article, (element) => !element.closest("pre, code, script, style, mjx-container, .math"));

  // Contrast by the formula of WCAG 2.
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      known.set(colour, [r, g, b, a / 255]);
    }
    return known.get(colour);
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((value, i) => a * value + (1 - a) * below[i]);
  const luminance = (colour) => {
    const [r, g, b] = colour.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const grounds = new Map();
  const ground = (element) => {
    if (!element) return rgba(getComputedStyle(document.documentElement).colorScheme === "dark" ? "black" : "white");
    if (!grounds.has(element))
      grounds.set(element, over(rgba(getComputedStyle(element).backgroundColor), ground(element.parentElement)));
    return grounds.get(element);
  };
  const opacity = (element) => element ? getComputedStyle(element).opacity * opacity(element.parentElement) : 1;
  const visible = (element) => {
    const { width, height } = element.getBoundingClientRect();
    return width > 1 && height > 1 && element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  };
  const pale = new Map();
  for (const node of texts(document.body, visible)) {
    const element = node.parentElement;
    if (element.closest("mjx-assistive-mml, script, style, noscript, :disabled, [inert]")) continue;
    const style = getComputedStyle(element);
    const [r, g, b, a] = rgba(style.color);
    const below = ground(element);
    const [light, dark] = [luminance(over([r, g, b, a * opacity(element)], below)), luminance(below)].sort((x, y) => y - x);
    const ratio = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const colours = `${style.color} on rgb(${below.map(Math.round)})`;
    if (ratio < (large ? 3 : 4.5) && !pale.has(colours))
      pale.set(colours, `${ratio.toFixed(2)}: ${colours}: ${say(element)}`);
  }

  // Elements wider than the screen, unless their box scrolls or clips them.
  const width = document.documentElement.clientWidth;
  const boxed = (element) =>
    element && element !== document.body &&
    (getComputedStyle(element).overflowX !== "visible" || getComputedStyle(element).position === "fixed" ||
      boxed(element.parentElement));
  const wide = [...article.querySelectorAll("*")].filter(
    (element) => visible(element) && element.getBoundingClientRect().right > width + 1 && !boxed(element.parentElement),
  );

  return {
    theme: document.documentElement.dataset.theme,
    language: document.documentElement.lang,
    title: document.querySelector("h1")?.textContent,
    formulas: formulas.length,
    unrendered: formulas.filter((element) => !element.querySelector("mjx-container svg")).map(say),
    wrong: [...document.querySelectorAll("mjx-merror, [data-mml-node=merror], [data-mjx-error]")].map(say),
    raw: prose.filter((node) => /\$|\\[([]/.test(node.data)).map((node) => say(node.parentElement)),
    pictures: images.length,
    missing: images.filter((image) => !image.naturalWidth).map((image) => image.src),
    unnamed: images.filter((image) => !image.alt.trim()).map((image) => image.src),
    tooWide: document.documentElement.scrollWidth > width ? [`page: ${document.documentElement.scrollWidth}`] : [],
    sticksOut: wide.filter((element) => !wide.includes(element.parentElement)).map(say),
    pale: [...pale.values()],
  };
}

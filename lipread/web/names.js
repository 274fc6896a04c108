// Gradio's own words are English, as the page is, whatever the browser speaks.
Object.defineProperty(navigator, "language", { value: "en" });
Object.defineProperty(navigator, "languages", { value: ["en"] });

// What gradio shows as a key or as JSON.
const WORDS = {
  "common.complete": "Done",
  "common.upload": "Add videos",
  "image.no_webcam_support": "The camera works only over https, or on the machine itself. Upload a video.",
};
const inWords = (text) => {
  const refusal = text.match(/^HTTP \d+: (\{"detail":".*"\})$/);
  return refusal ? JSON.parse(refusal[1]).detail : WORDS[text] ?? text;
};

// Names for what gradio leaves nameless: players and pictures take that of the caption above them, or of their label.
const captionOf = (element) => {
  const block = element.closest("#lr-input, #lr-film");
  if (block) return block.id === "lr-input" ? "Video to read" : "Video with captions";
  return element.closest(".column")?.querySelector(".lr-caption")?.textContent ?? "";
};
const fileOf = (element) => element.closest("tr").querySelector(".filename").getAttribute("aria-label");
const set = (selector, attribute, valueOf) => {
  for (const each of document.querySelectorAll(selector)) {
    const value = valueOf(each);
    if (value && each.getAttribute(attribute) !== value) each.setAttribute(attribute, value);
  }
};
const nameThings = () => {
  set("video:not([aria-label])", "aria-label", (film) => captionOf(film) || "Video");
  set(RECORD, "aria-label", (button) => button.querySelector("[title='stop recording']") ? "stop recording" : "start recording");
  set("[aria-label='play-pause-replay-button']", "aria-label", () => "Play or pause");
  set("[aria-label='full-screen']", "aria-label", () => "Full screen");
  set(".controls progress", "aria-label", () => "Position: arrow keys move it by a second");
  set(".controls progress", "tabindex", () => "0");
  set("#lr-files [id^='lr-file-']", "aria-label", (button) => `Download ${button.textContent.trim()}`);
  set(".file-preview a[download]", "aria-label", (link) => `Download ${fileOf(link)}, ${link.textContent.replace("⇣", "").trim()}`);
  set(".file-preview button", "aria-label", (button) => `Remove ${fileOf(button)}`);
  set("[aria-label='common.upload']", "title", () => WORDS["common.upload"]);
  set("[aria-label='common.upload']", "aria-label", () => WORDS["common.upload"]);
  set("[role='tabpanel']:not([aria-label])", "aria-label", () => document.querySelector("[role='tab'][aria-selected='true']")?.textContent);
  set(".label-wrap", "aria-expanded", (button) => String(button.classList.contains("open")));
  set(".label-wrap .icon", "aria-hidden", () => "true");
  set("fieldset", "aria-label", (group) => group.querySelector("[data-testid='block-info']")?.textContent.trim());
  set("fieldset input[type='radio']", "name", (radio) => radio.closest("fieldset").id); // one group: arrow keys go through it
  set(":is(#lr-notes, #lr-many-notes) .html-container", "aria-live", () => "polite");
  set(".lr-picture img", "loading", () => "eager"); // else what stands below them moves when one scrolls there
  set(".lr-picture img:not([alt]), .lr-picture img[alt='']", "alt", captionOf);
  set(".lr-picture button:has(img)", "aria-label", captionOf); // it is a button that does nothing
  set(".lr-picture button:has(img)", "role", () => "img");
  set(".lr-picture button:has(img)", "tabindex", () => "-1");
  for (const { firstChild: said } of document.querySelectorAll("[data-testid='toast-text'], .sr-only[role='status']")) {
    if (said && said.nodeValue !== inWords(said.nodeValue ?? "")) said.nodeValue = inWords(said.nodeValue);
  }
};
new MutationObserver(() => { nameThings(); clearNotes(); keepLast(); tellAnew(); })
  .observe(document, { childList: true, subtree: true, characterData: true, attributeFilter: ["class"] });

// Players by keyboard: Space does not scroll the page, and arrow keys move the film.
document.addEventListener("keydown", (event) => {
  if (!event.target.matches?.("[role='button'], progress")) return;
  if (event.key === " ") event.preventDefault();
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const film = step && event.target.closest(".controls")?.parentElement.querySelector("video");
  if (!film) return;
  event.preventDefault();
  film.currentTime += step;
});

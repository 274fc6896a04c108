// The page and the server may lose one another: a connection is cut, or the server is started anew.

// Gradio opens its heartbeat once. When that ends, the server takes the visitor for gone and deletes the files.
const plainFetch = window.fetch.bind(window);
const keepHeartbeat = async (...request) => {
  for (;;) {
    try {
      const reader = (await plainFetch(...request)).body.getReader();
      while (!(await reader.read()).done);
    } catch {
      if (request[1]?.signal?.aborted) return;
    }
    await new Promise((next) => setTimeout(next, 1000));
  }
};
window.fetch = (...request) => {
  if (!String(request[0]?.url ?? request[0]).includes("/heartbeat/")) return plainFetch(...request);
  keepHeartbeat(...request);
  return new Promise(() => {}); // gradio looks at nothing that comes
};

// When the connection is cut while something runs, gradio loads the page anew. What was read last outlives that.
const kept = (() => { try { return sessionStorage; } catch { return {}; } })();
const reloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
if (!reloaded) {
  delete kept.lipreadLast;
  delete kept.lipreadWhy;
}
let lastText = "";
const keepLast = () => {
  for (const toast of document.querySelectorAll("[data-testid='toast-text']")) {
    if (toast.textContent.startsWith("Connection to the server was lost")) {
      kept.lipreadWhy ??= "The connection was lost, and the page was loaded anew.";
    }
  }
  const text = document.querySelector("#lr-said")?.dataset.text ?? "";
  if (text && text !== lastText) {
    const address = document.querySelector("#lr-input video")?.getAttribute("src") ?? "blob:";
    const name = address.startsWith("blob:") ? "the recording" : decodeURIComponent(address.split("/").pop());
    kept.lipreadLast = `Read last from ${name}: “${text}”.`;
  }
  lastText = text;
};
let toTell = reloaded && (kept.lipreadWhy || kept.lipreadLast);
const tellAnew = () => {
  const place = toTell && document.querySelector("#lr-notes .html-container");
  if (!place) return;
  const note = document.createElement("p");
  note.className = "lr-notes lr-anew";
  note.textContent = [kept.lipreadWhy ?? "The page was loaded anew.", kept.lipreadLast, "Choose the video again."].join(" ");
  place.append(note);
  toTell = "";
  delete kept.lipreadWhy;
};

// A server that was started anew has nothing of this page, and gradio would wait for it for ever.
document.addEventListener("click", async (event) => {
  if (!event.target.closest?.("#lr-read, #lr-many-read")) return;
  document.querySelector(".lr-anew")?.remove();
  const answer = await plainFetch(`${location.pathname.replace(/\/$/, "")}/gradio_api/app_id`).catch(() => null);
  if (!answer?.ok || (await answer.json()).app_id === window.gradio_config.app_id) return;
  kept.lipreadWhy = "The program was started anew, and so was this page.";
  location.reload();
});

// Words move the player; the word being said is marked while the film plays.
document.addEventListener("click", (event) => {
  const word = event.target.closest?.(".lr-word");
  if (!word) return;
  const film = document.querySelector("#lr-film video") || document.querySelector("#lr-input video");
  if (!film) return;
  const upload = film.closest("#lr-input"); // until the film with captions is there; of it maybe only a part was read
  const start = Number(word.dataset.start) + (upload ? Number(word.closest(".lr-timeline").dataset.from) : 0);
  const go = () => { film.currentTime = start; film.play().catch(() => {}); };
  if (film.readyState >= 1) go();
  else { film.addEventListener("loadedmetadata", go, { once: true }); film.load(); }
});
document.addEventListener("timeupdate", (event) => {
  if (!event.target.closest?.("#lr-film")) return;
  const now = event.target.currentTime;
  for (const word of document.querySelectorAll(".lr-word")) {
    const said = Number(word.dataset.start) <= now && now < Number(word.dataset.end);
    word.classList.toggle("lr-now", said);
  }
}, true);

// What this browser cannot play (avi, HEVC, ...) is read all the same: a word of that instead of gradio's error.
const unplayable = () => `This browser cannot play the file. If it is a video, it can be read all the same: press “${document.querySelector("#lr-read").textContent.trim()}”. The film with captions will play.`;
const tellIn = (place, text, kind = "lr-unplayable") => {
  const note = place.querySelector(`.${kind}`) ?? document.createElement("p");
  note.className = kind;
  note.setAttribute("role", "status");
  note.textContent = text;
  place.append(note);
};
document.addEventListener("error", (event) => {
  if (event.target.matches?.("#lr-film video") && event.target.error) {
    tellIn(event.target.closest("#lr-film"), "The film is gone: it was kept for a while only. Read the video again.", "lr-gone");
  }
  const place = event.target.matches?.("#lr-input video") && event.target.closest(".video-container");
  if (!place) return;
  event.stopPropagation();
  if (!place.querySelector(".lr-unplayable")) tellIn(place, unplayable());
}, true);
document.addEventListener("loadstart", (event) => {
  if (event.target.matches?.("#lr-film video")) document.querySelector(".lr-gone")?.remove();
  if (!event.target.matches?.("#lr-input video")) return;
  event.target.closest(".video-container")?.querySelector(".lr-unplayable")?.remove();
  const chosen = event.target.getAttribute("src"); // not what the camera sees now
  if (chosen && document.activeElement === document.body) document.querySelector("#lr-read").focus(); // what was pressed is gone
}, true);
const clearNotes = () => {
  for (const note of document.querySelectorAll(".lr-unplayable, .lr-camera, .lr-gone")) if (!note.parentElement.querySelector("video")) note.remove();
};

// Gradio packs a recording when Stop is pressed, without what the encoder still holds: on a slow computer all of it.
// So the recorder is stopped first, and the press passed on when all has come.
const RECORD = "#lr-input button:is([aria-label='start recording'], [aria-label='stop recording'])";
let recorder = null;
if (window.MediaRecorder) {
  const start = MediaRecorder.prototype.start;
  MediaRecorder.prototype.start = function (...options) { recorder = this; return start.apply(this, options); };
}
document.addEventListener("click", (event) => {
  const button = recorder && event.target.closest?.(RECORD);
  if (!button) return;
  event.stopPropagation();
  if (recorder.state === "inactive") return; // it was pressed already
  recorder.addEventListener("stop", () => {
    recorder.stop = () => {};
    recorder = null;
    button.click();
  }, { once: true });
  recorder.stop();
}, true);

// Where there is no microphone, or it is not allowed, the camera is enough; where there is no camera, the page says so.
const devices = navigator.mediaDevices;
if (devices) {
  const ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (wanted) => {
    const place = document.querySelector("#lr-input .video-container");
    place?.querySelector(".lr-camera")?.remove();
    try {
      return await ask(wanted).catch((error) => { if (wanted.audio) return ask({ ...wanted, audio: false }); throw error; });
    } catch (error) {
      const why = error.name === "NotAllowedError" ? "The camera is not allowed. Allow it in the browser" : `No camera (${error.name}). Connect one`;
      if (place) tellIn(place, `${why}, or upload a video.`, "lr-camera");
      throw error;
    }
  };
}

// Recordings do not state how long they are; the player finds out when it is sent behind their end.
document.addEventListener("loadedmetadata", (event) => {
  const film = event.target;
  if (!film.matches?.("#lr-input video") || film.duration !== Infinity || film.srcObject) return;
  film.addEventListener("timeupdate", () => { film.currentTime = 0; }, { once: true });
  film.currentTime = 1e9;
}, true);

// Copies the text; where the browser gives no clipboard (plain http from another machine), it marks the text instead.
window.lipreadCopy = () => {
  const said = document.querySelector("#lr-said");
  const button = document.querySelector("#lr-copy");
  if (!said?.dataset.text) return;
  const tell = (text) => { button.textContent = text; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
  const mark = () => { getSelection().selectAllChildren(said); tell("Marked"); };
  if (navigator.clipboard) navigator.clipboard.writeText(said.dataset.text).then(() => tell("Copied"), mark);
  else mark();
};

// On a phone the result stands below the fold.
document.addEventListener("click", (event) => {
  if (event.target.closest?.("#lr-read") && innerWidth < 720) {
    const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
    setTimeout(() => document.querySelector("#lr-text")?.scrollIntoView({ behavior, block: "start" }), 100);
  }
});

// What waits when something is clicked: gradio forgets it before “Cancel” can ask.
let lipreadPending = [];
document.addEventListener("click", () => {
  lipreadPending = [...document.querySelectorAll(".pending")].map((each) => each.closest("[id^='lr-']")?.id);
}, true);

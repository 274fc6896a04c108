// Words move the player; the word being said is marked while the film plays.
document.addEventListener("click", (event) => {
  const word = event.target.closest?.(".lr-word");
  if (!word) return;
  const film = document.querySelector("#lr-film video") || document.querySelector("#lr-input video");
  if (!film) return;
  const start = Number(word.dataset.start);
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

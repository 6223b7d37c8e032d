// Before the first paint: the colour scheme that was chosen here, over the system's.
try {
  const chosen = localStorage.getItem("studio.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Without storage the system's scheme holds.
}

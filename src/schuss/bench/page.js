const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
document.getElementById("save").addEventListener("click", () => {
  const raw = new Blob([document.getElementById("raw").textContent], {type: "application/json"});
  const link = Object.assign(document.createElement("a"),
    {href: URL.createObjectURL(raw), download: "schuss-bench.json"});
  link.click();
  URL.revokeObjectURL(link.href);
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => {
  d.open = true; }));

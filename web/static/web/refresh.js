// While something is being looked at, read the page again and show what has changed.

const PAUSE = 1500;

const refresh = async () => {
  const live = document.querySelector("[data-live]");
  if (!live.hasAttribute("data-waiting")) return;
  try {
    const response = await fetch(location.href);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.querySelector("[data-live]");
    if (response.redirected || !fresh) {
      location.reload();
      return;
    }
    if (fresh.innerHTML !== live.innerHTML && !live.contains(document.activeElement)) live.replaceWith(fresh);
  } catch {
    // The next turn tries again.
  }
  setTimeout(refresh, PAUSE);
};

setTimeout(refresh, PAUSE);

/** Looks again while somebody looks: at once when the page is shown, then as often as asked. Gives how to stop. */
export function whileSeen(every: number, look: () => void): () => void {
  const see = (): void => {
    if (document.visibilityState === "visible") look();
  };
  document.addEventListener("visibilitychange", see);
  const timer = setInterval(see, every);
  return () => {
    document.removeEventListener("visibilitychange", see);
    clearInterval(timer);
  };
}

/**
 * What an answer to a part that is fetched again and again means. status: of HTTP, 0 where none came.
 *
 * isCurrent: what the part shows is as of now; isAway: the site cannot be reached or is broken, so that it may be old;
 * goesOn: another attempt makes sense, which it does not for what is gone.
 */
export function meaningOf(status) {
  return {
    isCurrent: status === 200 || status === 204,
    isAway: status === 0 || status >= 500,
    goesOn: status !== 404,
  };
}

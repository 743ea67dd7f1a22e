// Package page opens what `sandbox inspect --html` writes in a real browser,
// Debian's chromium, and looks at what a person would: whether the drawing shows
// what there is, whether anything sticks out, whether it can be read in light and
// dark and reached by the keyboard, and whether names that hostile processes
// chose stay text.
package page

/**
 * `@varve/lab/pictures`: PNG pictures of an image's pages, by class and by when they were first touched.
 */
export { classColours, groupMapPng, type HeatMapPngOptions, heatMapPng } from './pictures/heat-map-png.js'
export type { Colour } from './pictures/png.js'

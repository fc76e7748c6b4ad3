/** The first word by which the shells' scripts ask what could stand in a command line. */
export const candidatesWord = '__complete'

// Drawn people and a drawn lecture in the place of camera and screen, for pictures of the page.

/**
 * Runs in the page before its own scripts: getUserMedia gives a drawn person, getDisplayMedia a slide.
 * @param {{ look: { wall: string, warm: string, skin: string, hair: string, dress: string, long: boolean, glasses: boolean, room: 'shelf' | 'window' | 'board' | 'plant' }, language: string }} given
 */
export function drawn({ look, language }) {
  Object.defineProperty(navigator, 'language', { get: () => language });
  const devices = globalThis.MediaDevices?.prototype;
  if (!devices) return;
  const { getUserMedia } = devices;
  devices.getUserMedia = async function (wish) {
    return wish.video ? film(1280, 720, 8, person) : getUserMedia.call(this, wish);
  };
  devices.getDisplayMedia = async () => film(1600, 1000, 4, slide);

  /** @param {number} width @param {number} height @param {number} fps @param {(c: CanvasRenderingContext2D, seconds: number) => void} draw */
  function film(width, height, fps, draw) {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const context = canvas.getContext('2d');
    const paint = () => draw(context, performance.now() / 1000);
    paint();
    const timer = setInterval(paint, 1000 / fps);
    const stream = canvas.captureStream(fps);
    const [track] = stream.getVideoTracks();
    const stop = track.stop.bind(track);
    track.stop = () => { clearInterval(timer); stop(); };
    return stream;
  }

  function person(c, seconds) {
    const box = (x, y, width, height, colour, round = 0) => {
      c.fillStyle = colour;
      c.beginPath();
      c.roundRect(x, y, width, height, round);
      c.fill();
    };
    const oval = (x, y, rx, ry, colour) => {
      c.fillStyle = colour;
      c.beginPath();
      c.ellipse(x, y, rx, ry, 0, 0, 7);
      c.fill();
    };
    box(0, 0, 1280, 720, look.wall);
    c.fillStyle = look.warm;
    c.beginPath();
    for (const [x, y] of [[0, 0], [900, 0], [330, 720], [0, 720]]) c.lineTo(x, y);
    c.fill();
    c.globalAlpha = 0.55;
    if (look.room === 'shelf') {
      for (const y of [150, 330, 510]) {
        box(60, y, 330, 14, '#6b5138');
        box(900, y, 330, 14, '#6b5138');
        for (let i = 0; i < 9; i++) {
          const colour = ['#a9543f', '#3f6d7a', '#c9a04c', '#5c7050', '#7b5a83'][(i * 7 + y) % 5];
          const high = 86 + ((i * 37 + y) % 34);
          box(76 + i * 33, y - high, 26, high, colour, 3);
          box(916 + i * 33, y - high, 26, high, colour, 3);
        }
      }
    } else if (look.room === 'window') {
      box(800, 60, 380, 430, '#ffffff', 6);
      box(818, 78, 165, 394, '#7db9d6');
      box(998, 78, 165, 394, '#7db9d6');
      oval(890, 440, 90, 70, '#7fae83');
      box(818, 472, 345, 20, '#ffffff');
    } else if (look.room === 'board') {
      box(90, 70, 1100, 420, '#ffffff', 10);
      box(108, 88, 1064, 384, '#2f5549', 6);
      c.strokeStyle = '#e8f1ec';
      c.lineWidth = 5;
      c.beginPath();
      for (let x = 0; x < 300; x += 6) c.lineTo(150 + x, 270 - 70 * Math.sin(x / 34) * Math.exp(-x / 190));
      c.stroke();
      c.font = 'italic 50px serif';
      c.fillStyle = '#e8f1ec';
      c.fillText('f(x) = e⁻ˣ sin x', 740, 190);
    } else {
      box(930, 520, 170, 200, '#b9684a', 12);
      for (let i = -3; i <= 3; i++) {
        c.save();
        c.translate(1015, 520);
        c.rotate(i * 0.32);
        oval(0, -150, 30, 150, i % 2 ? '#4d7d57' : '#65946a');
        c.restore();
      }
      box(120, 110, 300, 220, '#f3eee4', 4);
      oval(270, 220, 80, 60, '#d98f6a');
    }
    c.globalAlpha = 1;
    const nod = 5 * Math.sin(seconds * 1.3);
    c.save();
    c.translate(640, 60 + nod);
    if (look.long) box(-152, 130, 304, 440, look.hair, 140);
    box(-310, 500, 620, 400, look.dress, 170);
    box(-58, 400, 116, 150, look.skin, 50);
    oval(0, 545, 92, 42, look.skin);
    oval(0, 295, 128, 162, look.skin);
    c.save();
    c.beginPath();
    c.rect(-200, 60, 400, look.long ? 190 : 165);
    c.clip();
    oval(0, 275, 146, 176, look.hair);
    c.restore();
    oval(0, 305, 116, 112, look.skin);
    for (const side of [-1, 1]) {
      oval(side * 46, 300, 9, seconds % 4 < 0.15 ? 2 : 11, '#2a2423');
      c.strokeStyle = look.hair;
      c.lineWidth = 8;
      c.lineCap = 'round';
      c.beginPath();
      c.arc(side * 46, 288, 28, 4.0, 5.4);
      c.stroke();
      if (look.glasses) {
        c.strokeStyle = '#2a2423';
        c.lineWidth = 6;
        c.beginPath();
        c.arc(side * 46, 302, 34, 0, 7);
        c.stroke();
      }
    }
    c.strokeStyle = '#8d3f39';
    c.lineWidth = 8;
    c.beginPath();
    c.arc(0, 352, 40, 0.5, 2.64);
    c.stroke();
    c.restore();
  }

  function slide(c, seconds) {
    c.fillStyle = '#fbfaf6';
    c.fillRect(0, 0, 1600, 1000);
    c.fillStyle = '#0e5560';
    c.fillRect(0, 0, 1600, 26);
    c.font = '700 64px sans-serif';
    c.fillText(language === 'de' ? '3 · Gedämpfte Schwingung' : '3 · Damped oscillation', 110, 160);
    c.font = '40px sans-serif';
    c.fillStyle = '#37474f';
    const lines = language === 'de'
      ? ['Die Hüllkurve fällt mit der Dämpfung,', 'die Frequenz bleibt nahezu gleich.']
      : ['The envelope falls with the damping,', 'the frequency stays almost the same.'];
    lines.forEach((line, i) => c.fillText(line, 110, 245 + i * 56));
    const plot = (colour, width, of) => {
      c.strokeStyle = colour;
      c.lineWidth = width;
      c.beginPath();
      for (let x = 0; x <= 1380; x += 4) c.lineTo(110 + x, 650 - of(x));
      c.stroke();
    };
    plot('#b9c6c8', 3, () => 0);
    plot('#f2b84b', 5, (x) => 250 * Math.exp(-x / 520));
    plot('#f2b84b', 5, (x) => -250 * Math.exp(-x / 520));
    plot('#0e5560', 8, (x) => 250 * Math.exp(-x / 520) * Math.cos(x / 42));
    const x = (seconds * 60) % 1380;
    c.fillStyle = '#b3261e';
    c.beginPath();
    c.arc(110 + x, 650 - 250 * Math.exp(-x / 520) * Math.cos(x / 42), 14, 0, 7);
    c.fill();
  }
}

export const LOOKS = {
  ada: { wall: '#9fb4b8', warm: '#abbfc2', skin: '#e8b896', hair: '#4a2f27', dress: '#28596b', long: true, glasses: false, room: 'shelf' },
  mira: { wall: '#dcc9b2', warm: '#e6d6c2', skin: '#c98f6b', hair: '#1f1a1d', dress: '#8c3b4a', long: true, glasses: true, room: 'window' },
  jonas: { wall: '#b4c0c4', warm: '#c0cbce', skin: '#f0c7a8', hair: '#b07a3c', dress: '#3c4a63', long: false, glasses: false, room: 'board' },
  lin: { wall: '#cdd3bd', warm: '#d8ddca', skin: '#e3b58c', hair: '#15151a', dress: '#d9a441', long: false, glasses: true, room: 'plant' },
};

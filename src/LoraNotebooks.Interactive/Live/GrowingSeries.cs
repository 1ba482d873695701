namespace LoraNotebooks.Interactive;

/// <summary>A series that is thinned while it grows, so that drawing a long run costs no more than drawing a short one.</summary>
/// <remarks>
/// The points lie in stretches of equal length, of which each keeps its lowest and its highest point, as <see cref="Series.Thin"/> does;
/// when there are too many stretches, neighbours are joined and from then on stretches are twice as long. The first and the last point always stay.
/// </remarks>
internal sealed class GrowingSeries
{
    private readonly int _most;
    private readonly List<Stretch> _stretches = [];
    private Point _first;
    private Point _last;
    private int _length = 1;
    private int _inLast;

    /// <summary>An empty series.</summary>
    /// <param name="most">The most points that it keeps; 6 or more.</param>
    public GrowingSeries(int most)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(most, 6);
        _most = (most - 2) / 2;
    }

    /// <summary>Adds a point to the right of all others.</summary>
    public void Add(double x, double y)
    {
        _last = new(x, y);
        if (_stretches.Count == 0)
        {
            _first = _last;
        }

        if (_stretches.Count == _most && _inLast == _length)
        {
            Join();
        }

        var one = new Stretch(_last, _last);
        if (_stretches.Count > 0 && _inLast < _length)
        {
            _stretches[^1] = _stretches[^1].With(one);
            _inLast++;
        }
        else
        {
            _stretches.Add(one);
            _inLast = 1;
        }
    }

    /// <summary>The points that are kept, as a series to draw.</summary>
    public ChartSeries ToSeries(string name)
    {
        var points = new List<Point>(2 * _stretches.Count + 2);
        foreach (var stretch in _stretches)
        {
            var (left, right) = stretch.Low.X <= stretch.High.X ? (stretch.Low, stretch.High) : (stretch.High, stretch.Low);
            Append(left);
            Append(right);
        }

        if (_stretches.Count > 0)
        {
            if (points[0].X > _first.X)
            {
                points.Insert(0, _first);
            }

            Append(_last);
        }

        return new(name, [.. points.Select(p => p.X)], [.. points.Select(p => p.Y)]);

        void Append(Point point)
        {
            if (points.Count == 0 || point.X > points[^1].X)
            {
                points.Add(point);
            }
        }
    }

    private void Join()
    {
        var joined = 0;
        for (var i = 0; i < _stretches.Count; i += 2)
        {
            _stretches[joined++] = i + 1 < _stretches.Count ? _stretches[i].With(_stretches[i + 1]) : _stretches[i];
        }

        // An odd one at the end is half full.
        _inLast += _stretches.Count % 2 == 0 ? _length : 0;
        _stretches.RemoveRange(joined, _stretches.Count - joined);
        _length *= 2;
    }

    private readonly record struct Point(double X, double Y);

    private readonly record struct Stretch(Point Low, Point High)
    {
        public Stretch With(Stretch next) => new(
            Series.IsBelow(next.Low.Y, Low.Y) ? next.Low : Low,
            Series.IsAbove(next.High.Y, High.Y) ? next.High : High);
    }
}

using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Tests.Diffusion;

/// <content>The multistep methods along λ = log(α/σ).</content>
internal sealed partial class SamplerOracle
{
    private (double Alpha, double Sigma, double Lambda) Place(int i)
    {
        var alpha = 1 / Math.Sqrt(1 + Sigmas[i] * Sigmas[i]);
        return (alpha, Sigmas[i] * alpha, -Math.Log(Sigmas[i]));
    }

    private double VarianceKept(int i) => Read(Answer(i), _x, Place(i).Alpha, Place(i).Sigma).Original;

    /// <summary>DPM-Solver++ as diffusers writes it.</summary>
    private void DpmPlusPlus()
    {
        var (isSde, solver) = _kind switch
        {
            nameof(SamplerKind.DpmPlusPlus2M) => (false, 2),
            nameof(SamplerKind.DpmPlusPlus2MSde) => (true, 2),
            _ => (true, 3),
        };
        DpmPlusPlus(isSde, solver);
    }

    /// <summary>The same for a configuration's own settings.</summary>
    public IReadOnlyList<double> WalkOwn(double start)
    {
        _x = start;
        _path.Clear();
        Draws = 0;
        DpmPlusPlus(_config.AlgorithmType == "sde-dpmsolver++", _config.SolverOrder);
        return _path;
    }

    private void DpmPlusPlus(bool isSde, int solver)
    {
        var m = new List<double>();
        for (var i = 0; i < _steps; i++)
        {
            m.Insert(0, VarianceKept(i));
            var isFew = _config.LowerOrderFinal && _steps < 15;
            var isFirst = m.Count == 1 || solver == 1 || (i == _steps - 1 && (isFew || _config.EulerAtFinal || _config.FinalSigma == FinalSigma.Zero));
            var order = isFirst ? 1 : m.Count == 2 || solver == 2 || (i == _steps - 2 && isFew) ? 2 : 3;
            var ((_, s, l), (alpha, t, l2)) = (Place(i), Place(i + 1));
            var h = l2 - l;
            if (h != 0)
            {
                var (k, e) = isSde ? (2 * h, Math.Exp(-2 * h) - 1) : (h, Math.Exp(-h) - 1);
                _x = t / s * (isSde ? Math.Exp(-h) : 1) * _x - alpha * e * m[0];
                var r0 = order > 1 ? (l - Place(i - 1).Lambda) / h : 0;
                var d0 = order > 1 ? (m[0] - m[1]) / r0 : 0;
                if (order == 2)
                {
                    _x += _config.SolverType == "heun" ? alpha * (e / k + 1) * d0 : -0.5 * alpha * e * d0;
                }
                else if (order == 3)
                {
                    var r1 = (Place(i - 1).Lambda - Place(i - 2).Lambda) / h;
                    var d1 = (m[1] - m[2]) / r1;
                    var (first, second) = (d0 + r0 / (r0 + r1) * (d0 - d1), (d0 - d1) / (r0 + r1));
                    _x += alpha * (e / k + 1) * first - alpha * ((e + k) / (k * k) - 0.5) * second;
                }

                _x += isSde ? t * Math.Sqrt(1 - Math.Exp(-2 * h)) * Z() : 0;
            }

            _path.Add(_x);
        }
    }

    /// <summary>UniPC as diffusers writes it, with multistep_uni_p_bh_update and multistep_uni_c_bh_update.</summary>
    private void UniPc()
    {
        var m = new List<double>();
        double start = _x;
        var lastOrder = 0;
        for (var i = 0; i < _steps; i++)
        {
            var original = VarianceKept(i);
            if (i > 0 && !_config.DisableCorrector.Contains(i - 1))
            {
                _x = Bh(i - 1, start, m, lastOrder, original);
            }

            m.Insert(0, original);
            start = _x;
            var most = _config.LowerOrderFinal ? Math.Min(_config.SolverOrder, _steps - i)
                : i == _steps - 1 && _config.FinalSigma == FinalSigma.Zero ? 1
                : _config.SolverOrder;
            lastOrder = Math.Min(most, m.Count);
            _x = Bh(i, _x, m, lastOrder, null);
            _path.Add(_x);
        }
    }

    private double Bh(int from, double at, List<double> m, int order, double? answer)
    {
        var ((_, s, l), (alpha, t, l2)) = (Place(from), Place(from + 1));
        double h = l2 - l, hh = -h, phi1 = Math.Exp(hh) - 1, b = _config.SolverType == "bh1" ? hh : phi1;
        if (h == 0)
        {
            return at;
        }

        var (r, d) = (new List<double>(), new List<double>());
        for (var k = 1; k < order; k++)
        {
            r.Add((Place(from - k).Lambda - l) / h);
            d.Add((m[k] - m[0]) / r[^1]);
        }

        if (answer is { } end)
        {
            r.Add(1);
            d.Add(end - m[0]);
        }

        double phi = phi1 / hh - 1, factorial = 1;
        var right = new double[r.Count];
        for (var i = 1; i <= r.Count; i++)
        {
            right[i - 1] = phi * factorial / b;
            factorial *= i + 1;
            phi = phi / hh - 1 / factorial;
        }

        var rho = r.Count == 1 ? [0.5] : Vandermonde([.. r], right);
        return t / s * at - alpha * phi1 * m[0] - rho.Select((weight, k) => alpha * b * weight * d[k]).Sum();
    }

    /// <summary>ρ of Σ_k r_k^i·ρ_k = b_i by Cramer's rule, for up to three.</summary>
    private static double[] Vandermonde(double[] r, double[] b)
    {
        double[][] rows = [.. b.Select((_, i) => r.Select(ratio => Math.Pow(ratio, i)).ToArray())];
        return [.. r.Select((_, column) => Determinant(With(column)) / Determinant(rows))];

        double[][] With(int column) => [.. rows.Select((row, i) => row.Select((value, j) => j == column ? b[i] : value).ToArray())];

        static double Determinant(double[][] a) => a.Length switch
        {
            0 => 1,
            1 => a[0][0],
            _ => a[0].Select((value, j) => (j % 2 == 0 ? value : -value) * Determinant(Without(a[1..], j))).Sum(),
        };

        static double[][] Without(double[][] rows, int column) => [.. rows.Select(row => row.Where((_, k) => k != column).ToArray())];
    }
}

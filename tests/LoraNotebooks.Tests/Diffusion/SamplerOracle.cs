using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>
/// Every sampler once more: on one number, in float64, as a plain loop over the formula of its paper or of k-diffusion. The model's answers and
/// the noise are given numbers, so that a step is compared with its formula and with nothing else.
/// </summary>
internal sealed class SamplerOracle
{
    private readonly SchedulerConfig config;
    private readonly SamplerKind kind;
    private readonly int steps;
    private readonly double eta;
    private readonly float[] signal; // ᾱ, of the rounding that the schedule promises
    private readonly float[] levels; // σ of every training timestep
    private readonly List<double> path = [];
    private double x;

    public SamplerOracle(SchedulerConfig config, SamplerKind kind, int steps, double eta = 0)
    {
        (this.config, this.kind, this.steps, this.eta) = (config, kind, steps, eta);
        var product = 1.0;
        signal = [.. config.TrainedBetas!.Select(beta => (float)(product *= 1f - (float)beta))];
        levels = [.. signal.Select(a => a == 0 ? 1f / 16777216 : a).Select(a => MathF.Sqrt((1 - a) / a))];
        Plan();
    }

    public List<double> Timesteps { get; } = [];

    public List<double> Sigmas { get; } = [];

    public double InitialSigma { get; private set; } = 1;

    public int Draws { get; private set; }

    public static double Answer(int step) => Math.Sin(1.3 * step + 0.4);

    public static double Noise(int draw) => Math.Cos(2.1 * draw + 0.2);

    private bool IsMultistep => kind is SamplerKind.DpmPlusPlus2M or SamplerKind.DpmPlusPlus2MSde or SamplerKind.DpmPlusPlus3MSde or SamplerKind.UniPc;

    private bool IsTwice => kind is SamplerKind.Heun or SamplerKind.Dpm2 or SamplerKind.Dpm2Ancestral or SamplerKind.DpmPlusPlus2SAncestral or SamplerKind.DpmPlusPlusSde;

    /// <summary>x after each evaluation of the model.</summary>
    public IReadOnlyList<double> Walk(double start)
    {
        x = start;
        path.Clear();
        Draws = 0;
        Action walk = kind switch
        {
            SamplerKind.Ddim => Ddim,
            SamplerKind.Ddpm => Ddpm,
            SamplerKind.Pndm => Pndm,
            SamplerKind.Euler or SamplerKind.EulerAncestral => Euler,
            SamplerKind.Lms => Lms,
            SamplerKind.UniPc => UniPc,
            _ when IsMultistep => DpmPlusPlus,
            _ => Twice,
        };
        walk();
        return path;
    }

    private void Plan()
    {
        int T = config.NumTrainTimesteps, parts = IsMultistep && config.TimestepSpacing != TimestepSpacing.Trailing ? steps + 1 : steps;
        var isWhole = kind is SamplerKind.Ddim or SamplerKind.Ddpm or SamplerKind.Pndm;
        var visited = new List<double>();
        for (var i = parts - 1; i >= parts - steps; i--)
        {
            var even = parts == 1 ? 0 : i * ((T - 1.0) / (parts - 1));
            visited.Add(config.TimestepSpacing switch
            {
                TimestepSpacing.Leading => i * (T / parts) + config.StepsOffset,
                TimestepSpacing.Trailing => Math.Round(T - (parts - 1 - i) * ((double)T / steps)) - 1,
                _ => isWhole || IsMultistep ? Math.Round(even) : (float)even,
            });
        }

        if (isWhole)
        {
            Timesteps.AddRange(kind == SamplerKind.Pndm && steps > 1 ? [visited[0], visited[1], .. visited[1..]] : visited);
            return;
        }

        var sigmas = visited.ConvertAll(LevelAt);
        if (config.UseKarrasSigmas || config.UseExponentialSigmas)
        {
            var (most, least) = IsMultistep ? (levels[^1], levels[0]) : (sigmas[0], sigmas[^1]);
            for (var i = 0; i < steps; i++)
            {
                var part = steps == 1 ? 0 : i / (steps - 1.0);
                sigmas[i] = config.UseKarrasSigmas
                    ? Math.Pow(Math.Pow(most, 1 / 7.0) + part * (Math.Pow(least, 1 / 7.0) - Math.Pow(most, 1 / 7.0)), 7)
                    : Math.Exp(i == steps - 1 && i > 0 ? Math.Log(least) : Math.Log(most) + i * ((Math.Log(least) - Math.Log(most)) / Math.Max(steps - 1, 1)));
                var t = TimestepOf(sigmas[i]);
                var isNearest = config.UseKarrasSigmas && (kind == SamplerKind.UniPc || config.BetaSchedule != BetaSchedule.SquaredCosCapV2);
                visited[i] = !IsMultistep ? t : isNearest ? Math.Round(t) : Math.Floor(t);
            }
        }

        for (var i = 0; i < steps; i++)
        {
            if (IsTwice && i > 0)
            {
                // √(σ·σ_down) of an ancestral step is σ' itself, as σ_down = σ'²/σ.
                var isBetween = kind is SamplerKind.Dpm2 or SamplerKind.DpmPlusPlusSde;
                Sigmas.Add(isBetween ? Math.Sqrt(sigmas[i - 1] * sigmas[i]) : sigmas[i]);
                Timesteps.Add(isBetween ? TimestepOf(Sigmas[^1]) : visited[i]);
            }

            Sigmas.Add(sigmas[i]);
            Timesteps.Add(visited[i]);
        }

        Sigmas.Add(config.FinalSigma == FinalSigma.SigmaMin && (kind == SamplerKind.Euler || IsMultistep) ? levels[0] : 0);
        InitialSigma = IsMultistep ? 1 : config.TimestepSpacing == TimestepSpacing.Leading ? Math.Sqrt(sigmas[0] * sigmas[0] + 1) : sigmas[0];
    }

    private double LevelAt(double t)
    {
        var low = (int)t;
        return low >= levels.Length - 1 ? levels[^1] : levels[low] + ((double)levels[low + 1] - levels[low]) * (t - low);
    }

    private double TimestepOf(double sigma)
    {
        var low = 0;
        while (low < levels.Length - 2 && MathF.Log(levels[low + 1]) <= Math.Log(sigma))
        {
            low++;
        }

        double a = MathF.Log(levels[low]), b = MathF.Log(levels[low + 1]);
        var weight = Math.Clamp((a - Math.Log(sigma)) / (a - b), 0, 1);
        return (1 - weight) * low + weight * (low + 1);
    }

    private static (double Down, double Up) Ancestral(double sigma, double next)
    {
        var up = Math.Sqrt(next * next * (sigma * sigma - next * next) / (sigma * sigma));
        return (next * next / sigma, up);
    }

    private double Z() => Noise(Draws++);

    private double Clip(double original) => config.ClipSample ? Math.Clamp(original, -config.ClipSampleRange, config.ClipSampleRange) : original;

    /// <summary>x₀ and ε of an answer, where x = a·x₀ + s·ε.</summary>
    private (double Original, double Noise) Read(double answer, double at, double a, double s) => config.PredictionType switch
    {
        PredictionType.Epsilon => ((at - s * answer) / a, answer),
        PredictionType.VPrediction => (a * at - s * answer, a * answer + s * at),
        _ => (answer, (at - a * answer) / s),
    };

    /// <summary>x₀ where x = x₀ + σ·ε and the model sees x/√(σ²+1).</summary>
    private double Denoised(int evaluation, double at)
    {
        var norm = Math.Sqrt(Sigmas[evaluation] * Sigmas[evaluation] + 1);
        return Read(Answer(evaluation), at / norm, 1 / norm, Sigmas[evaluation] / norm).Original;
    }

    private void Ddim()
    {
        for (var i = 0; i < steps; i++)
        {
            var t = (int)Timesteps[i];
            var before = t - config.NumTrainTimesteps / steps;
            double a = signal[t], b = before >= 0 ? signal[before] : config.SetAlphaToOne ? 1 : signal[0];
            var (original, noise) = Read(Answer(i), x, Math.Sqrt(a), Math.Sqrt(1 - a));
            var variance = eta * eta * (1 - b) / (1 - a) * (1 - a / b);
            x = Math.Sqrt(b) * Clip(original) + Math.Sqrt(1 - b - variance) * noise + (eta > 0 ? Math.Sqrt(variance) * Z() : 0);
            path.Add(x);
        }
    }

    private void Ddpm()
    {
        for (var i = 0; i < steps; i++)
        {
            var t = (int)Timesteps[i];
            double a = signal[t], b = i == steps - 1 ? 1 : signal[(int)Timesteps[i + 1]];
            var original = Clip(Read(Answer(i), x, Math.Sqrt(a), Math.Sqrt(1 - a)).Original);
            var mean = (Math.Sqrt(b) * (1 - a / b) * original + Math.Sqrt(a / b) * (1 - b) * x) / (1 - a);
            x = mean + (t == 0 ? 0 : Math.Sqrt(Math.Max((1 - b) / (1 - a) * (1 - a / b), 1e-20)) * Z());
            path.Add(x);
        }
    }

    private void Pndm()
    {
        var stride = config.NumTrainTimesteps / steps;
        var answers = new List<double>();
        var start = x;
        for (var i = 0; i < Timesteps.Count; i++)
        {
            int t = (int)Timesteps[i], from = i == 1 ? t + stride : t;
            if (i != 1)
            {
                answers.Insert(0, Answer(i));
            }

            var e = (i, answers.Count) switch
            {
                (1, _) => (Answer(1) + Answer(0)) / 2,
                (_, 1) => answers[0],
                (_, 2) => 3 / 2.0 * answers[0] - answers[1] / 2,
                (_, 3) => (23 * answers[0] - 16 * answers[1] + 5 * answers[2]) / 12,
                _ => (55 * answers[0] - 59 * answers[1] + 37 * answers[2] - 9 * answers[3]) / 24,
            };
            var at = i == 1 ? start : x;
            double a = Math.Max(signal[from], 1.0 / 16777216), b = from >= stride ? signal[from - stride] : config.SetAlphaToOne ? 1 : signal[0];
            var noise = Read(e, at, Math.Sqrt(a), Math.Sqrt(1 - a)).Noise;
            x = Math.Sqrt(b / a) * at - (b - a) / (Math.Sqrt(a) * (Math.Sqrt((1 - b) * a) + Math.Sqrt((1 - a) * b))) * noise;
            path.Add(x);
        }
    }

    private void Euler()
    {
        for (var i = 0; i < steps; i++)
        {
            var slope = (x - Denoised(i, x)) / Sigmas[i];
            var (down, up) = kind == SamplerKind.Euler ? (Sigmas[i + 1], 0) : Ancestral(Sigmas[i], Sigmas[i + 1]);
            x += slope * (down - Sigmas[i]);
            x += kind == SamplerKind.Euler ? 0 : up * Z();
            path.Add(x);
        }
    }

    /// <summary>Heun, DPM-Solver-2, DPM-Solver++(2S) and its SDE form: each step asks twice, the one to σ = 0 once.</summary>
    private void Twice()
    {
        for (var i = 0; i < Sigmas.Count - 2; i += 2)
        {
            var (from, middle, to, start) = (Sigmas[i], Sigmas[i + 1], Sigmas[i + 2], x);
            var first = Denoised(i, x);
            var slope = (x - (kind == SamplerKind.Heun ? Clip(first) : first)) / from;
            var (down, up) = kind is SamplerKind.Heun or SamplerKind.Dpm2 ? (to, 0) : Ancestral(from, to);
            var (middleDown, middleUp) = kind == SamplerKind.DpmPlusPlusSde ? Ancestral(from, middle) : (middle, 0);
            x = kind is SamplerKind.Heun or SamplerKind.Dpm2 or SamplerKind.Dpm2Ancestral ? start + (middle - from) * slope : Along(start, from, middleDown, first);
            x += middleUp == 0 ? 0 : middleUp * Z();
            path.Add(x);

            var second = Denoised(i + 1, x);
            var secondSlope = (x - (kind == SamplerKind.Heun ? Clip(second) : second)) / middle;
            x = kind switch
            {
                SamplerKind.Heun => start + (to - from) * (slope + secondSlope) / 2,
                SamplerKind.Dpm2 or SamplerKind.Dpm2Ancestral => start + (down - from) * secondSlope,
                _ => Along(start, from, down, second),
            };
            x += kind is SamplerKind.Heun or SamplerKind.Dpm2 ? 0 : up * Z();
            path.Add(x);
        }

        x = kind == SamplerKind.Heun ? Clip(Denoised(Sigmas.Count - 2, x)) : Denoised(Sigmas.Count - 2, x);
        path.Add(x);

        // σ'/σ·x − expm1(−h)·x₀ with h = ln σ − ln σ'
        static double Along(double x, double sigma, double next, double original)
        {
            var h = Math.Log(sigma) - Math.Log(next);
            return next / sigma * x - (Math.Exp(-h) - 1) * original;
        }
    }

    private void Lms()
    {
        var slopes = new List<double>();
        for (var i = 0; i < steps; i++)
        {
            slopes.Insert(0, (x - Denoised(i, x)) / Sigmas[i]);
            var order = Math.Min(slopes.Count, 4);
            var end = Sigmas[i + 1] - Sigmas[i];
            for (var j = 0; j < order; j++)
            {
                // Lagrange's polynomial by its coefficients in u = σ − σ_i, integrated term by term.
                double[] polynomial = [1];
                for (var k = 0; k < order; k++)
                {
                    if (k != j)
                    {
                        double root = Sigmas[i - k] - Sigmas[i], span = Sigmas[i - j] - Sigmas[i - k];
                        var longer = new double[polynomial.Length + 1];
                        for (var power = 0; power < polynomial.Length; power++)
                        {
                            longer[power] -= polynomial[power] * root / span;
                            longer[power + 1] += polynomial[power] / span;
                        }

                        polynomial = longer;
                    }
                }

                x += slopes[j] * polynomial.Select((c, power) => c * Math.Pow(end, power + 1) / (power + 1)).Sum();
            }

            path.Add(x);
        }
    }

    private (double Alpha, double Sigma, double Lambda) Place(int i)
    {
        var alpha = 1 / Math.Sqrt(1 + Sigmas[i] * Sigmas[i]);
        return (alpha, Sigmas[i] * alpha, -Math.Log(Sigmas[i]));
    }

    private double VarianceKept(int i) => Read(Answer(i), x, Place(i).Alpha, Place(i).Sigma).Original;

    /// <summary>DPM-Solver++ as diffusers writes it.</summary>
    private void DpmPlusPlus()
    {
        var (isSde, solver) = kind switch { SamplerKind.DpmPlusPlus2M => (false, 2), SamplerKind.DpmPlusPlus2MSde => (true, 2), _ => (true, 3) };
        DpmPlusPlus(isSde, solver);
    }

    /// <summary>The same for a configuration's own settings.</summary>
    public IReadOnlyList<double> WalkOwn(double start)
    {
        x = start;
        path.Clear();
        Draws = 0;
        DpmPlusPlus(config.AlgorithmType == "sde-dpmsolver++", config.SolverOrder);
        return path;
    }

    private void DpmPlusPlus(bool isSde, int solver)
    {
        var m = new List<double>();
        for (var i = 0; i < steps; i++)
        {
            m.Insert(0, VarianceKept(i));
            var isFew = config.LowerOrderFinal && steps < 15;
            var isFirst = m.Count == 1 || solver == 1 || (i == steps - 1 && (isFew || config.EulerAtFinal || config.FinalSigma == FinalSigma.Zero));
            var order = isFirst ? 1 : m.Count == 2 || solver == 2 || (i == steps - 2 && isFew) ? 2 : 3;
            var ((_, s, l), (alpha, t, l2)) = (Place(i), Place(i + 1));
            var h = l2 - l;
            if (h != 0)
            {
                var (k, e) = isSde ? (2 * h, Math.Exp(-2 * h) - 1) : (h, Math.Exp(-h) - 1);
                x = t / s * (isSde ? Math.Exp(-h) : 1) * x - alpha * e * m[0];
                var r0 = order > 1 ? (l - Place(i - 1).Lambda) / h : 0;
                var d0 = order > 1 ? (m[0] - m[1]) / r0 : 0;
                if (order == 2)
                {
                    x += config.SolverType == "heun" ? alpha * (e / k + 1) * d0 : -0.5 * alpha * e * d0;
                }
                else if (order == 3)
                {
                    var r1 = (Place(i - 1).Lambda - Place(i - 2).Lambda) / h;
                    var d1 = (m[1] - m[2]) / r1;
                    var (first, second) = (d0 + r0 / (r0 + r1) * (d0 - d1), (d0 - d1) / (r0 + r1));
                    x += alpha * (e / k + 1) * first - alpha * ((e + k) / (k * k) - 0.5) * second;
                }

                x += isSde ? t * Math.Sqrt(1 - Math.Exp(-2 * h)) * Z() : 0;
            }

            path.Add(x);
        }
    }

    /// <summary>UniPC as diffusers writes it, with multistep_uni_p_bh_update and multistep_uni_c_bh_update.</summary>
    private void UniPc()
    {
        var m = new List<double>();
        double start = x;
        var lastOrder = 0;
        for (var i = 0; i < steps; i++)
        {
            var original = VarianceKept(i);
            if (i > 0 && !config.DisableCorrector.Contains(i - 1))
            {
                x = Bh(i - 1, start, m, lastOrder, original);
            }

            m.Insert(0, original);
            start = x;
            lastOrder = Math.Min(config.LowerOrderFinal ? Math.Min(config.SolverOrder, steps - i) : i == steps - 1 && config.FinalSigma == FinalSigma.Zero ? 1 : config.SolverOrder, m.Count);
            x = Bh(i, x, m, lastOrder, null);
            path.Add(x);
        }
    }

    private double Bh(int from, double at, List<double> m, int order, double? answer)
    {
        var ((_, s, l), (alpha, t, l2)) = (Place(from), Place(from + 1));
        double h = l2 - l, hh = -h, phi1 = Math.Exp(hh) - 1, b = config.SolverType == "bh1" ? hh : phi1;
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
        return [.. r.Select((_, column) => Determinant([.. rows.Select((row, i) => row.Select((value, j) => j == column ? b[i] : value).ToArray())]) / Determinant(rows))];

        static double Determinant(double[][] a) => a.Length switch
        {
            0 => 1,
            1 => a[0][0],
            _ => a[0].Select((value, j) => (j % 2 == 0 ? value : -value) * Determinant([.. a[1..].Select(row => row.Where((_, k) => k != j).ToArray())])).Sum(),
        };
    }
}

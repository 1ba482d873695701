using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>
/// Every sampler once more: on one number, in float64, as a plain loop over the formula of its paper or of k-diffusion. The model's answers and
/// the noise are given numbers, so that a step is compared with its formula and with nothing else.
/// </summary>
internal sealed partial class SamplerOracle
{
    private readonly SchedulerConfig _config;
    private readonly string _kind;
    private readonly int _steps;
    private readonly double _eta;
    private readonly float[] _signal; // ᾱ, of the rounding that the schedule promises
    private readonly float[] _levels; // σ of every training timestep
    private readonly List<double> _path = [];
    private double _x;

    public SamplerOracle(SchedulerConfig config, SamplerKind kind, int steps, double eta = 0)
    {
        (_config, _kind, _steps, _eta) = (config, kind.Name, steps, eta);
        var product = 1.0;
        _signal = [.. config.TrainedBetas!.Select(beta => (float)(product *= 1f - (float)beta))];
        _levels = [.. _signal.Select(a => a == 0 ? 1f / 16777216 : a).Select(a => MathF.Sqrt((1 - a) / a))];
        Plan();
    }

    public List<double> Timesteps { get; } = [];

    public List<double> Sigmas { get; } = [];

    public double InitialSigma { get; private set; } = 1;

    public int Draws { get; private set; }

    public static double Answer(int step) => Math.Sin(1.3 * step + 0.4);

    public static double Noise(int draw) => Math.Cos(2.1 * draw + 0.2);

    private bool IsMultistep => _kind is nameof(SamplerKind.DpmPlusPlus2M) or nameof(SamplerKind.DpmPlusPlus2MSde) or nameof(SamplerKind.DpmPlusPlus3MSde)
        or nameof(SamplerKind.UniPc);

    private bool IsTwice => _kind is nameof(SamplerKind.Heun) or nameof(SamplerKind.Dpm2) or nameof(SamplerKind.Dpm2Ancestral)
        or nameof(SamplerKind.DpmPlusPlus2SAncestral) or nameof(SamplerKind.DpmPlusPlusSde);

    /// <summary>x after each evaluation of the model.</summary>
    public IReadOnlyList<double> Walk(double start)
    {
        _x = start;
        _path.Clear();
        Draws = 0;
        Action walk = _kind switch
        {
            nameof(SamplerKind.Ddim) => Ddim,
            nameof(SamplerKind.Ddpm) => Ddpm,
            nameof(SamplerKind.Pndm) => Pndm,
            nameof(SamplerKind.Euler) or nameof(SamplerKind.EulerAncestral) => Euler,
            nameof(SamplerKind.Lms) => Lms,
            nameof(SamplerKind.UniPc) => UniPc,
            _ when IsMultistep => DpmPlusPlus,
            _ => Twice,
        };
        walk();
        return _path;
    }

    private void Plan()
    {
        int T = _config.NumTrainTimesteps, parts = IsMultistep && _config.TimestepSpacing != TimestepSpacing.Trailing ? _steps + 1 : _steps;
        var isWhole = _kind is nameof(SamplerKind.Ddim) or nameof(SamplerKind.Ddpm) or nameof(SamplerKind.Pndm);
        var visited = new List<double>();
        for (var i = parts - 1; i >= parts - _steps; i--)
        {
            var even = parts == 1 ? 0 : i * ((T - 1.0) / (parts - 1));
            visited.Add(_config.TimestepSpacing switch
            {
                TimestepSpacing.Leading => i * (T / parts) + _config.StepsOffset,
                TimestepSpacing.Trailing => Math.Round(T - (parts - 1 - i) * ((double)T / _steps)) - 1,
                _ => isWhole || IsMultistep ? Math.Round(even) : (float)even,
            });
        }

        if (isWhole)
        {
            Timesteps.AddRange(_kind == nameof(SamplerKind.Pndm) && _steps > 1 ? [visited[0], visited[1], .. visited[1..]] : visited);
            return;
        }

        var sigmas = visited.ConvertAll(LevelAt);
        if (_config.UseKarrasSigmas || _config.UseExponentialSigmas)
        {
            var (most, least) = IsMultistep ? (_levels[^1], _levels[0]) : (sigmas[0], sigmas[^1]);
            for (var i = 0; i < _steps; i++)
            {
                var part = _steps == 1 ? 0 : i / (_steps - 1.0);
                sigmas[i] = _config.UseKarrasSigmas
                    ? Math.Pow(Math.Pow(most, 1 / 7.0) + part * (Math.Pow(least, 1 / 7.0) - Math.Pow(most, 1 / 7.0)), 7)
                    : Math.Exp(i == _steps - 1 && i > 0 ? Math.Log(least) : Math.Log(most) + i * ((Math.Log(least) - Math.Log(most)) / Math.Max(_steps - 1, 1)));
                var t = TimestepOf(sigmas[i]);
                var isNearest = _config.UseKarrasSigmas && (_kind == nameof(SamplerKind.UniPc) || _config.BetaSchedule != BetaSchedule.SquaredCosCapV2);
                visited[i] = !IsMultistep ? t : isNearest ? Math.Round(t) : Math.Floor(t);
            }
        }

        for (var i = 0; i < _steps; i++)
        {
            if (IsTwice && i > 0)
            {
                // √(σ·σ_down) of an ancestral step is σ' itself, as σ_down = σ'²/σ.
                var isBetween = _kind is nameof(SamplerKind.Dpm2) or nameof(SamplerKind.DpmPlusPlusSde);
                Sigmas.Add(isBetween ? Math.Sqrt(sigmas[i - 1] * sigmas[i]) : sigmas[i]);
                Timesteps.Add(isBetween ? TimestepOf(Sigmas[^1]) : visited[i]);
            }

            Sigmas.Add(sigmas[i]);
            Timesteps.Add(visited[i]);
        }

        Sigmas.Add(_config.FinalSigma == FinalSigma.SigmaMin && (_kind == nameof(SamplerKind.Euler) || IsMultistep) ? _levels[0] : 0);
        InitialSigma = IsMultistep ? 1 : _config.TimestepSpacing == TimestepSpacing.Leading ? Math.Sqrt(sigmas[0] * sigmas[0] + 1) : sigmas[0];
    }

    private double LevelAt(double t)
    {
        var low = (int)t;
        return low >= _levels.Length - 1 ? _levels[^1] : _levels[low] + ((double)_levels[low + 1] - _levels[low]) * (t - low);
    }

    private double TimestepOf(double sigma)
    {
        var low = 0;
        while (low < _levels.Length - 2 && MathF.Log(_levels[low + 1]) <= Math.Log(sigma))
        {
            low++;
        }

        double a = MathF.Log(_levels[low]), b = MathF.Log(_levels[low + 1]);
        var weight = Math.Clamp((a - Math.Log(sigma)) / (a - b), 0, 1);
        return (1 - weight) * low + weight * (low + 1);
    }

    private static (double Down, double Up) Ancestral(double sigma, double next)
    {
        var up = Math.Sqrt(next * next * (sigma * sigma - next * next) / (sigma * sigma));
        return (next * next / sigma, up);
    }

    private double Z() => Noise(Draws++);

    private double Clip(double original) => _config.ClipSample ? Math.Clamp(original, -_config.ClipSampleRange, _config.ClipSampleRange) : original;

    /// <summary>x₀ and ε of an answer, where x = a·x₀ + s·ε.</summary>
    private (double Original, double Noise) Read(double answer, double at, double a, double s) => _config.PredictionType switch
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
        for (var i = 0; i < _steps; i++)
        {
            var t = (int)Timesteps[i];
            var before = t - _config.NumTrainTimesteps / _steps;
            double a = _signal[t], b = before >= 0 ? _signal[before] : _config.SetAlphaToOne ? 1 : _signal[0];
            var (original, noise) = Read(Answer(i), _x, Math.Sqrt(a), Math.Sqrt(1 - a));
            var variance = _eta * _eta * (1 - b) / (1 - a) * (1 - a / b);
            _x = Math.Sqrt(b) * Clip(original) + Math.Sqrt(1 - b - variance) * noise + (_eta > 0 ? Math.Sqrt(variance) * Z() : 0);
            _path.Add(_x);
        }
    }

    private void Ddpm()
    {
        for (var i = 0; i < _steps; i++)
        {
            var t = (int)Timesteps[i];
            double a = _signal[t], b = i == _steps - 1 ? 1 : _signal[(int)Timesteps[i + 1]];
            var original = Clip(Read(Answer(i), _x, Math.Sqrt(a), Math.Sqrt(1 - a)).Original);
            var mean = (Math.Sqrt(b) * (1 - a / b) * original + Math.Sqrt(a / b) * (1 - b) * _x) / (1 - a);
            _x = mean + (t == 0 ? 0 : Math.Sqrt(Math.Max((1 - b) / (1 - a) * (1 - a / b), 1e-20)) * Z());
            _path.Add(_x);
        }
    }

    private void Pndm()
    {
        var stride = _config.NumTrainTimesteps / _steps;
        var answers = new List<double>();
        var start = _x;
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
            var at = i == 1 ? start : _x;
            double a = Math.Max(_signal[from], 1.0 / 16777216), b = from >= stride ? _signal[from - stride] : _config.SetAlphaToOne ? 1 : _signal[0];
            var noise = Read(e, at, Math.Sqrt(a), Math.Sqrt(1 - a)).Noise;
            _x = Math.Sqrt(b / a) * at - (b - a) / (Math.Sqrt(a) * (Math.Sqrt((1 - b) * a) + Math.Sqrt((1 - a) * b))) * noise;
            _path.Add(_x);
        }
    }

    private void Euler()
    {
        for (var i = 0; i < _steps; i++)
        {
            var slope = (_x - Denoised(i, _x)) / Sigmas[i];
            var (down, up) = _kind == nameof(SamplerKind.Euler) ? (Sigmas[i + 1], 0) : Ancestral(Sigmas[i], Sigmas[i + 1]);
            _x += slope * (down - Sigmas[i]);
            _x += _kind == nameof(SamplerKind.Euler) ? 0 : up * Z();
            _path.Add(_x);
        }
    }

    /// <summary>Heun, DPM-Solver-2, DPM-Solver++(2S) and its SDE form: each step asks twice, the one to σ = 0 once.</summary>
    private void Twice()
    {
        for (var i = 0; i < Sigmas.Count - 2; i += 2)
        {
            var (from, middle, to, start) = (Sigmas[i], Sigmas[i + 1], Sigmas[i + 2], _x);
            var first = Denoised(i, _x);
            var slope = (_x - (_kind == nameof(SamplerKind.Heun) ? Clip(first) : first)) / from;
            var (down, up) = _kind is nameof(SamplerKind.Heun) or nameof(SamplerKind.Dpm2) ? (to, 0) : Ancestral(from, to);
            var (middleDown, middleUp) = _kind == nameof(SamplerKind.DpmPlusPlusSde) ? Ancestral(from, middle) : (middle, 0);
            _x = _kind is nameof(SamplerKind.Heun) or nameof(SamplerKind.Dpm2) or nameof(SamplerKind.Dpm2Ancestral)
                ? start + (middle - from) * slope
                : Along(start, from, middleDown, first);
            _x += middleUp == 0 ? 0 : middleUp * Z();
            _path.Add(_x);

            var second = Denoised(i + 1, _x);
            var secondSlope = (_x - (_kind == nameof(SamplerKind.Heun) ? Clip(second) : second)) / middle;
            _x = _kind switch
            {
                nameof(SamplerKind.Heun) => start + (to - from) * (slope + secondSlope) / 2,
                nameof(SamplerKind.Dpm2) or nameof(SamplerKind.Dpm2Ancestral) => start + (down - from) * secondSlope,
                _ => Along(start, from, down, second),
            };
            _x += _kind is nameof(SamplerKind.Heun) or nameof(SamplerKind.Dpm2) ? 0 : up * Z();
            _path.Add(_x);
        }

        _x = _kind == nameof(SamplerKind.Heun) ? Clip(Denoised(Sigmas.Count - 2, _x)) : Denoised(Sigmas.Count - 2, _x);
        _path.Add(_x);

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
        for (var i = 0; i < _steps; i++)
        {
            slopes.Insert(0, (_x - Denoised(i, _x)) / Sigmas[i]);
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

                _x += slopes[j] * polynomial.Select((c, power) => c * Math.Pow(end, power + 1) / (power + 1)).Sum();
            }

            _path.Add(_x);
        }
    }
}

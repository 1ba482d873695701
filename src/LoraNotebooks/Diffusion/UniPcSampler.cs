using LoraNotebooks.Tensors;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// UniPC of order p (Zhao et al. 2023, arXiv:2302.04867, algorithms 5 and 7, B(h) = e^{−h} − 1 or −h): a predictor over the last p
/// estimates of x₀, whose result the model's next answer corrects without being asked again.
/// </summary>
internal sealed class UniPcSampler(SchedulerConfig config, int steps) : LogSnrSampler(config, steps, roundsKarras: true, memory: config.SolverOrder)
{
    private readonly TensorHistory _start = new(1); // x where the last predictor began
    private int _lastOrder;

    public static SamplerDeclaration Declaration => new(nameof(SamplerKind.UniPc), static (config, steps, _) => new UniPcSampler(config, steps))
    {
        Title = "UniPC",
        SchedulerClass = "UniPCMultistepScheduler",
    };

    public override void Dispose()
    {
        _start.Dispose();
        base.Dispose();
    }

    protected override Term Next(Term modelOutput, int step, Term sample, Func<Term> noise)
    {
        var original = OriginalAt(step, modelOutput, sample);
        if (step > 0 && !Config.DisableCorrector.Contains(step - 1))
        {
            sample = Move(step - 1, _start[0], _lastOrder, original);
        }

        Originals.Add(original);
        _start.Add(sample);
        _lastOrder = Order(step);
        return Move(step, sample, _lastOrder, answer: null);
    }

    /// <summary>As many orders as there are estimates; the end goes down to the first, and must where σ = 0, which has no finite λ.</summary>
    private int Order(int step)
    {
        var remaining = Timesteps.Count - step;
        var most = Config.LowerOrderFinal ? remaining : remaining == 1 && Config.FinalSigma == FinalSigma.Zero ? 1 : Config.SolverOrder;
        return Math.Min(Math.Min(most, Config.SolverOrder), Originals.Count);
    }

    /// <summary>
    /// x' = σ'/σ·x − α'·φ₁·x₀ − α'·B·Σ ρ_k·D_k with φ₁ = e^{−h} − 1 and D_k = (x₀ of k steps before − x₀)/r_k; the corrector also has the
    /// <paramref name="answer"/> at the end, for which r = 1.
    /// </summary>
    private Term Move(int from, Term x, int order, Term? answer)
    {
        var (_, sigma, lambda) = Level(from);
        var (nextSignal, nextSigma, nextLambda) = Level(from + 1);
        var h = nextLambda - lambda;
        if (h == 0)
        {
            return x.Tensor.clone(); // the levels end where the step before has led to
        }

        var phi1 = Math.Exp(-h) - 1;
        var scale = Config.SolverType == "bh1" ? -h : phi1;
        double[] r = [.. Enumerable.Range(1, order - 1).Select(k => (Level(from - k).Lambda - lambda) / h)];
        List<Term> differences = [.. r.Select((ratio, k) => (Originals[k + 1] - Originals[0]) / ratio)];
        if (answer is { } end)
        {
            r = [.. r, 1];
            differences.Add(end - Originals[0]);
        }

        // With one difference the paper takes ½ (its appendix F).
        double[] rho = r.Length == 1 ? [0.5] : Weights(r, -h, scale);
        var next = nextSigma / sigma * x - nextSignal * phi1 * Originals[0];
        for (var k = 0; k < differences.Count; k++)
        {
            next -= nextSignal * scale * rho[k] * differences[k];
        }

        return next;
    }

    /// <summary>ρ of Σ_k r_k^{i−1}·ρ_k = i!·φ_{i+1}(z)/B, i = 1 to n (equation 9), where φ_{i+1} = (φ_i − 1/i!)/z times z, from φ₁ = (e^z − 1)/z.</summary>
    private static double[] Weights(double[] r, double z, double scale)
    {
        var n = r.Length;
        var rows = new double[n][];
        var (phi, factorial) = ((Math.Exp(z) - 1) / z - 1, 1d);
        for (var i = 1; i <= n; i++)
        {
            rows[i - 1] = [.. r.Select(ratio => Math.Pow(ratio, i - 1)), phi * factorial / scale];
            factorial *= i + 1;
            phi = phi / z - 1 / factorial;
        }

        return Solve(rows);
    }

    /// <summary>Gaussian elimination of the augmented rows; r are distinct, so the matrix (Vandermonde's) is regular and its first pivots are 1.</summary>
    private static double[] Solve(double[][] rows)
    {
        var n = rows.Length;
        for (var pivot = 0; pivot < n; pivot++)
        {
            for (var row = 0; row < n; row++)
            {
                var factor = row == pivot ? 0 : rows[row][pivot] / rows[pivot][pivot];
                rows[row] = [.. rows[row].Select((value, column) => value - factor * rows[pivot][column])];
            }
        }

        return [.. rows.Select((row, i) => row[n] / row[i])];
    }
}

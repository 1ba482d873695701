using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Training;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>What an update of a run should have told, and the weights at its end.</summary>
internal sealed record PlainUpdate(int Step, int Epoch, double Loss, double SmoothedLoss, double GradientNorm, double UNetRate, double? TextRate);

/// <summary>
/// A run as a plain loop over numbers in float64: noise, losses, weights of images and timesteps, accumulation, clipping, AdamW, LoRA+, bounds of norms, rates.
/// Of the library it takes the networks, the noise schedule's ᾱ and what a seed's generator draws; of the training's own code nothing.
/// </summary>
internal sealed class PlainTraining(DiffusionTrainingConfig config, StableDiffusionPipeline pipeline, PreparedDataset dataset)
{
    private const double Beta1 = 0.9;
    private const double Beta2 = 0.999;
    private const double Epsilon = 1e-8;

    private readonly NoiseSchedule _schedule = new(config.ZeroTerminalSnr ? pipeline.Scheduler with { RescaleBetasZeroSnr = true } : pipeline.Scheduler);
    private readonly PlainNoise _noise = new(config);
    private readonly List<PlainParameter> _parameters = [];
    private readonly List<PlainUpdate> _updates = [];

    public IReadOnlyList<PlainUpdate> Updates => _updates;

    /// <summary>How far the weights of another run lie from those of this one, in parts of the way that they went.</summary>
    public double DistanceOf(IReadOnlyDictionary<string, double[]> others)
    {
        Assert.Equal(_parameters.Select(parameter => parameter.Name).Order(), others.Keys.Order());
        var (distance, way) = (0d, 0d);
        foreach (var parameter in _parameters)
        {
            for (var i = 0; i < parameter.Values.Length; i++)
            {
                distance += Math.Pow(others[parameter.Name][i] - parameter.Values[i], 2);
                way += Math.Pow(parameter.Values[i] - parameter.Initial[i], 2);
            }
        }

        return Math.Sqrt(distance / way);
    }

    /// <summary>The weights of a LoRA by network and name.</summary>
    public static Dictionary<string, double[]> Weights(StableDiffusionLora lora) =>
        lora.Networks.SelectMany(network => network.Model.NamedParameters(lora.Name).Select(pair => (Name: $"{network.Name}.{pair.Name}", pair.Parameter)))
            .ToDictionary(pair => pair.Name, pair => Numbers(pair.Parameter));

    public void Run()
    {
        using var scope = NewDisposeScope();
        using var lora = StableDiffusionLora.Create(
            pipeline,
            config.Name,
            config.UNetLearningRate > 0 ? config.UNetLora : null,
            config.TextEncoderLearningRate > 0 ? config.TextEncoderLora : null,
            PlainSeed.Of(config.Seed, PlainSeed.Weights, 0));
        foreach (var network in lora.Networks)
        {
            var rate = network.Name == "unet" ? config.UNetLearningRate : config.TextEncoderLearningRate!.Value;
            _parameters.AddRange(network.Model.NamedParameters(lora.Name).Select(pair =>
                new PlainParameter(
                    $"{network.Name}.{pair.Name}",
                    pair.Parameter,
                    pair.Name.Contains("_B", StringComparison.Ordinal) ? rate * (config.LoraPlusLrRatio ?? 1) : rate)));
        }

        lora.Train();
        var latents = Latents();
        var shows = dataset.Images.Sum(image => image.Repeats);
        var batchesPerEpoch = (shows + config.BatchSize - 1) / config.BatchSize;
        var stepsPerEpoch = (batchesPerEpoch + config.GradientAccumulation - 1) / config.GradientAccumulation;
        var average = 0d;
        for (var epoch = 0; epoch < config.Epochs; epoch++)
        {
            using var generator = PlainSeed.Generator(config.Seed, PlainSeed.Order, epoch);
            int[][] batches = [.. dataset.EpochIndices(generator).Chunk(config.BatchSize)];
            for (var step = 0; step < stepsPerEpoch; step++)
            {
                _parameters.ForEach(parameter => parameter.Forget());
                var first = step * config.GradientAccumulation;
                var count = Math.Min(config.GradientAccumulation, batchesPerEpoch - first);
                var loss = 0d;
                for (var i = first; i < first + count; i++)
                {
                    loss += Accumulate(lora, latents, batches[i], (epoch * batchesPerEpoch) + i, count);
                }

                var done = _updates.Count;
                average = (0.98 * average) + (0.02 * loss);
                var factor = Factor(done, stepsPerEpoch * config.Epochs);
                _updates.Add(new PlainUpdate(
                    done + 1,
                    epoch + 1,
                    loss,
                    average / (1 - Math.Pow(0.98, done + 1)),
                    Descend(done + 1, factor),
                    factor * config.UNetLearningRate,
                    config.TextEncoderLearningRate > 0 ? factor * config.TextEncoderLearningRate : null));
                Bound(lora);
                _parameters.ForEach(parameter => parameter.Write());
            }
        }
    }

    /// <summary>The part of a batch in the loss of a step; its gradients are added to the parameters'.</summary>
    private double Accumulate(StableDiffusionLora lora, double[][] latents, int[] indices, long number, int count)
    {
        using var scope = NewDisposeScope();
        lora.SeedDropout(PlainSeed.Of(config.Seed, PlainSeed.Dropout, number));
        using var generator = PlainSeed.Generator(config.Seed, PlainSeed.Captions, number);
        string[] captions = [.. indices.Select(i => config.Captions.Draw(dataset.Images[i].Caption, generator))];
        var text = pipeline.Text.Encode(captions, config.ClipSkip, config.Reading) with
        {
            TimeIds = pipeline.TimeIds(indices.Select(i => dataset.Images[i]).Select(image =>
                new SizeConditions(image.Origin.Width, image.Origin.Height, image.Origin.Left, image.Origin.Top, image.Image.Width, image.Image.Height))),
        };

        var shape = LatentShape(indices.Length);
        var size = (int)(shape[1] * shape[2] * shape[3]);
        double[] clean = [.. indices.SelectMany(i => latents[i])];
        var (epsilon, input, t) = _noise.Draw(clean, shape, number, config.MaxTimestep ?? _schedule.NumTrainTimesteps);
        double[] signal = [.. t.Select(time => Math.Sqrt(_schedule.AlphasCumprod[(int)time]))];
        double[] sigma = [.. t.Select(time => Math.Sqrt(1 - (double)_schedule.AlphasCumprod[(int)time]))];
        double[] noisy = [.. clean.Select((x, i) => (signal[i / size] * x) + (sigma[i / size] * input[i]))];
        double[] target =
        [
            .. clean.Select((x, i) => _schedule.PredictionType switch
            {
                PredictionType.Epsilon => epsilon[i],
                PredictionType.VPrediction => (signal[i / size] * epsilon[i]) - (sigma[i / size] * x),
                _ => x,
            }),
        ];

        var prediction = pipeline.UNet.call(Floats(noisy, shape), tensor(t), text);
        var said = Numbers(prediction);
        var loss = 0d;
        var gradient = new double[said.Length];
        for (var i = 0; i < said.Length; i++)
        {
            var image = i / size;
            var (value, slope) = PlainLoss.Of(
                config,
                said[i] - target[i],
                PlainLoss.Threshold(config, (double)_schedule.AlphasCumprod[(int)t[image]], t[image], _schedule.NumTrainTimesteps));
            var weight = PlainLoss.Weight(
                config,
                _schedule.PredictionType,
                (double)_schedule.AlphasCumprod[(int)t[image]]) * WeightOf(dataset.Images[indices[image]]);
            loss += weight * value / said.Length / count;
            gradient[i] = weight * slope / said.Length / count;
        }

        (prediction * Floats(gradient, shape)).sum().backward();
        _parameters.ForEach(parameter => parameter.Collect());
        return loss;
    }

    private double WeightOf(PreparedImage image) => image.LossWeight * (image.IsRegularization ? config.PriorLossWeight : 1);

    /// <summary>Clips, updates, and returns the norm before clipping.</summary>
    private double Descend(int steps, double factor)
    {
        var norm = Math.Sqrt(_parameters.Where(parameter => parameter.HasGradient).Sum(parameter => parameter.Gradient.Sum(g => g * g)));
        var clip = config.MaxGradientNorm is { } max && norm > max ? max / (norm + 1e-6) : 1;
        foreach (var parameter in _parameters.Where(parameter => parameter.HasGradient))
        {
            var rate = factor * parameter.Rate;
            for (var i = 0; i < parameter.Values.Length; i++)
            {
                var g = clip * parameter.Gradient[i];
                parameter.First[i] = (Beta1 * parameter.First[i]) + ((1 - Beta1) * g);
                parameter.Second[i] = (Beta2 * parameter.Second[i]) + ((1 - Beta2) * g * g);
                var m = parameter.First[i] / (1 - Math.Pow(Beta1, steps));
                var v = parameter.Second[i] / (1 - Math.Pow(Beta2, steps));
                parameter.Values[i] -= rate * ((config.WeightDecay * parameter.Values[i]) + (m / (Math.Sqrt(v) + Epsilon)));
            }
        }

        return norm;
    }

    /// <summary>Each layer's ‖s·B·A‖ comes down to the bound, A and B taking the root of the factor each.</summary>
    private void Bound(StableDiffusionLora lora)
    {
        foreach (var network in config.ScaleWeightNorms is null ? [] : lora.Networks)
        {
            var settings = network.Model.GetConfig(lora.Name);
            foreach (var path in network.Model.GetLayers(lora.Name).Select(layer => layer.Path))
            {
                var a = _parameters.Single(parameter => parameter.Name == $"{network.Name}.{path}.lora_A.weight").Values;
                var b = _parameters.Single(parameter => parameter.Name == $"{network.Name}.{path}.lora_B.weight").Values;
                var (rank, squares) = (settings.Rank, 0d);
                var (rows, columns) = (b.Length / rank, a.Length / rank);
                for (var cell = 0; cell < rows * columns; cell++)
                {
                    squares += Math.Pow(Enumerable.Range(0, rank).Sum(r => b[(cell / columns * rank) + r] * a[(r * columns) + (cell % columns)]), 2);
                }

                var norm = settings.Alpha / rank * Math.Sqrt(squares);
                var factor = norm > config.ScaleWeightNorms ? Math.Sqrt(config.ScaleWeightNorms!.Value / norm) : 1;
                for (var i = 0; i < a.Length; i++)
                {
                    a[i] *= factor;
                }

                for (var i = 0; i < b.Length; i++)
                {
                    b[i] *= factor;
                }
            }
        }
    }

    /// <summary>η in parts of the base rate: a warm-up from 0, then constant or a half cosine wave down to 0.</summary>
    private double Factor(int step, int total)
    {
        var warmup = (int)config.Schedule.Warmup;
        return config.Schedule.Kind switch
        {
            ScheduleKind.Constant => 1,
            ScheduleKind.Cosine when step < warmup => (double)step / warmup,
            ScheduleKind.Cosine => 0.5 * (1 + Math.Cos(Math.PI * (step - warmup) / (total - warmup))),
            _ => throw new NotSupportedException(),
        };
    }

    /// <summary>Each image's scaled latents; the autoencoder's mean, or a draw from its distribution.</summary>
    private double[][] Latents()
    {
        using var noGradient = no_grad();
        return
        [
            .. dataset.Images.Select((image, i) =>
            {
                var (mean, logVariance) = pipeline.Vae.Encode(dataset.Pixels([i]));
                using var generator = PlainSeed.Generator(config.Seed, PlainSeed.Latents, i);
                var (means, logs, draws) = (Numbers(mean), Numbers(logVariance), Numbers(randn(mean.shape, generator: generator)));
                return means.Select((m, j) => pipeline.Vae.ScalingFactor * (m + (config.SampleLatents ? Math.Exp(logs[j] / 2) * draws[j] : 0))).ToArray();
            }),
        ];
    }

    private long[] LatentShape(long count) =>
        [count, pipeline.UNet.Config.InChannels, dataset.Height / pipeline.Vae.DownsamplingFactor, dataset.Width / pipeline.Vae.DownsamplingFactor];

    internal static double[] Numbers(Tensor x)
    {
        using var scope = NewDisposeScope();
        return x.detach().to(ScalarType.Float64).contiguous().data<double>().ToArray();
    }

    internal static Tensor Floats(double[] values, long[] shape) => tensor(values).to(ScalarType.Float32).reshape(shape);

    /// <summary>A parameter with its moments, in float64.</summary>
    private sealed class PlainParameter(string name, Tensor tensor, double rate)
    {
        public string Name { get; } = name;

        public double Rate { get; } = rate;

        public double[] Initial { get; } = Numbers(tensor);

        public double[] Values { get; } = Numbers(tensor);

        public double[] Gradient { get; } = new double[tensor.numel()];

        public double[] First { get; } = new double[tensor.numel()];

        public double[] Second { get; } = new double[tensor.numel()];

        /// <summary>A parameter that a loss does not depend on is not updated, not even by its decay.</summary>
        public bool HasGradient { get; private set; }

        public void Forget()
        {
            Array.Clear(Gradient);
            HasGradient = false;
        }

        public void Collect()
        {
            if (tensor.grad is not { } gradient)
            {
                return;
            }

            HasGradient = true;
            foreach (var (i, g) in Numbers(gradient).Index())
            {
                Gradient[i] += g;
            }

            tensor.grad = null;
        }

        public void Write()
        {
            using var scope = NewDisposeScope();
            using var noGradient = no_grad();
            tensor.copy_(Floats(Values, tensor.shape));
        }
    }
}

using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>Which batch each forward pass of a run is given, and what the run says of it.</summary>
public sealed class RunSequenceTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
    }

    /// <summary>
    /// Nine images an epoch in batches of two are five batches, of which two make a step: the third step has one, of one image. The first step
    /// changes the weights, the others leave them alone, so that each forward pass can be repeated with the weights of the end.
    /// </summary>
    [Theory]
    [InlineData(null, 0, 0)]
    [InlineData(null, 0.5, 0)]
    [InlineData(0.01, 0, 0.5)]
    [InlineData(0.01, 0.5, 0.5)]
    public void Train_EveryForwardPass_IsOfTheBatchOfItsEpochAndNumber(double? textRate, double dropout, double textDropout)
    {
        var images = TinyRun.Dataset.Images;
        var data = new PreparedDataset([images[0], images[1] with { Repeats = 2 },
            images[2] with { LossWeight = 3 }]).WithRegularization(new PreparedDataset(images.Skip(3)));
        data = new PreparedDataset(data.Images.Select(static (image, i) => i == 0 ? image with { Repeats = 2 } : image));
        var config = TinyRun.Config(_folder.Path);
        config = config with
        {
            Epochs = 3,
            GradientAccumulation = 2,
            UNetLearningRate = 0.01,
            TextEncoderLearningRate = textRate,
            PriorLossWeight = 0.5,
            IpNoiseGamma = 0.2,
            Captions = new CaptionOptions { Shuffle = true, CaptionDropout = 0.2 },
            Schedule = new() { Kind = ScheduleKind.PiecewiseConstant, Pieces = [new(1, 1), new(0)] },
            UNetLora = config.UNetLora with { Dropout = dropout },
            TextEncoderLora = textRate is null ? new DiffusionTrainingConfig().TextEncoderLora : config.TextEncoderLora with { Dropout = textDropout },
        };
        using var scope = NewDisposeScope();
        var passes = new List<(double[] Input, long[] Timesteps, double[] Text, double[] Output)>();
        var hook = _pipeline.UNet.register_forward_hook((_, input, timesteps, text, output) =>
        {
            // Attaching the adapter asks the network once which layers it runs.
            if (output.requires_grad)
            {
                passes.Add((Numbers(input), timesteps.data<long>().ToArray(), Numbers(text.HiddenStates), Numbers(output)));
            }

            return output;
        });
        var result = new LoraTrainer().Train(config, _pipeline, data);
        hook.remove();

        using (result)
        {
            // Nothing is dropped any more.
            var options = new GenerationOptions { Prompt = "long hair", Steps = 1 };
            Assert.Equal(_pipeline.Generate(options)[0].Pixels.ToArray(), _pipeline.Generate(options)[0].Pixels.ToArray());
            var schedule = new NoiseSchedule(_pipeline.Scheduler);
            using var set = new TrainingSet(_pipeline, config, data, schedule, default);
            Assert.Equal((9, 5, 3, 9), (data.ImagesPerEpoch, result.Plan.BatchesPerEpoch, result.Plan.StepsPerEpoch, result.Steps.Count));
            Assert.Equal(15, passes.Count);
            for (var epoch = 0; epoch < 3; epoch++)
            {
                using var order = new TrainingSeeds(3).Generator(RandomUse.Order, epoch);
                int[][] batches = [.. data.EpochIndices(order).Chunk(config.BatchSize)];
                var losses = new double[5];
                for (var b = 0; b < 5; b++)
                {
                    var number = 5 * epoch + b;
                    result.Lora.Train();
                    result.Lora.SeedDropout(new TrainingSeeds(3).Derive(RandomUse.Dropout, number));
                    using var noGradient = no_grad();
                    var batch = set.Draw(batches[b], number);
                    var noisy = schedule.AddNoise(batch.Latents, batch.InputNoise!, batch.Timesteps);
                    var (input, timesteps, text, output) = passes[number];
                    Assert.Equal(batch.Timesteps.data<long>().ToArray(), timesteps);
                    Close(Numbers(noisy), input);
                    if (number >= 2)
                    {
                        Close(Numbers(batch.Text.HiddenStates), text);
                        Close(Numbers(_pipeline.UNet.call(noisy, batch.Timesteps, batch.Text)), output);
                    }

                    losses[b] = Loss(schedule, batch, output);
                }

                Assert.Equal((losses[0] + losses[1]) / 2, result.Steps[3 * epoch].Loss, 1e-5);
                Assert.Equal((losses[2] + losses[3]) / 2, result.Steps[3 * epoch + 1].Loss, 1e-5);
                Assert.Equal(losses[4], result.Steps[3 * epoch + 2].Loss, 1e-5);
            }
        }
    }

    [Fact]
    public void Train_RateOfAStep_IsAppliedInThatStep()
    {
        double[] factors = [0, 0, 1, 0, 1, 1, 0, 0, 0, 1, 0, 1];
        var config = TinyRun.Config(_folder.Path) with
        {
            Epochs = 12,
            SaveEveryEpochs = 1,
            TextEncoderLearningRate = 5e-4,
            Schedule = new()
            {
                Kind = ScheduleKind.PiecewiseConstant,
                Pieces = [.. factors.Select((factor, i) => new RatePiece(factor, i + 1)).Take(11), new(1)]
            },
        };
        using (var begun = StableDiffusionLora.Create(_pipeline, "tiny", config.UNetLora, config.TextEncoderLora,
            new TrainingSeeds(3).Derive(RandomUse.Weights)))
        {
            begun.SaveKohya(_folder.In("begun.safetensors"));
        }

        using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.First(1));

        // One step an epoch, and a file after each.
        Assert.Equal(factors.Select(static factor => (factor * 1e-3, factor * 5e-4)), result.Steps
            .Select(static step => (step.LearningRates["UNet"], step.LearningRates["text encoder"])));
        var last = _folder.In("begun.safetensors");
        foreach (var (factor, file) in factors.Zip(result.Checkpoints))
        {
            foreach (var network in (string[])["lora_unet_", "lora_te_"])
            {
                Assert.Equal(factor == 0, RunFiles.Numbers(last, network).SequenceEqual(RunFiles.Numbers(file, network)));
            }

            last = file;
        }
    }

    /// <summary>The mean over a batch of w·mean((model − v)²), v = √ᾱ·ε − √(1−ᾱ)·x₀.</summary>
    private static double Loss(NoiseSchedule schedule, DiffusionBatch batch, double[] output)
    {
        var (x, e, w) = (Numbers(batch.Latents), Numbers(batch.Noise), Numbers(batch.Weights!));
        var t = batch.Timesteps.data<long>().ToArray();
        var size = x.Length / t.Length;
        var sum = 0.0;
        for (var k = 0; k < x.Length; k++)
        {
            double signal = schedule.AlphasCumprod[(int)t[k / size]];
            var difference = output[k] - (Math.Sqrt(signal) * e[k] - Math.Sqrt(1 - signal) * x[k]);
            sum += w[k / size] * difference * difference;
        }

        return sum / x.Length;
    }

    private static double[] Numbers(Tensor tensor) => tensor.detach().to(float64).contiguous().data<double>().ToArray();

    private static void Close(double[] expected, double[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], actual[i], 1e-5);
        }
    }
}

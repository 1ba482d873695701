using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Pretraining;

/// <summary>The second stage: UNet and text encoder learn to denoise latents under a caption, by v-prediction with zero terminal SNR.</summary>
internal static class DenoiserPretraining
{
    /// <summary>Share of captions left out, so that classifier-free guidance has an unconditional model (Ho and Salimans, arXiv:2207.12598).</summary>
    private const double CaptionDropout = 0.1;

    /// <summary>Share of tags left out of a caption, so that a short prompt works too.</summary>
    private const double TagDropout = 0.1;

    /// <summary>Share of captions with one made-up word, so that the base ignores words it does not know, such as a trigger word before its LoRA.</summary>
    private const double StrangeWord = 0.15;

    public static void Train(
        UNet2DConditionModel unet,
        ClipTextModel text,
        ClipTokenizer tokenizer,
        NoiseSchedule schedule,
        Tensor latents,
        string[][] tags,
        PretrainingConfig config,
        IProgress<PretrainingStep>? progress,
        CancellationToken cancellation)
    {
        var batch = config.DenoiserBatch;
        var dtype = AutoencoderPretraining.DType(config);
        using var optimizer = PretrainingLoop.NewOptimizer([.. unet.parameters(), .. text.parameters()], config.AverageDecay);
        PretrainingLoop.Run("denoiser", config, optimizer, config.DenoiserSteps, batch, config.DenoiserLearningRate,
            (step, generator) =>
            {
                var indices = randint(0, tags.Length, [batch], dtype: ScalarType.Int64, generator: generator);
                var clean = latents.index_select(0, indices);
                var noise = randn(clean.shape, generator: generator);

                // Stratified timesteps: one from each of the batch's equal parts of the schedule halves the loss's variance.
                var timesteps = Arithmetic.Range(batch).Plus(rand([batch], generator: generator)).Times(schedule.NumTrainTimesteps / (double)batch)
                    .to(ScalarType.Int64).Within(0, schedule.NumTrainTimesteps - 1);
                var captions = new Random(unchecked((int)(config.Seed * 7919 + step)));
                var ids = stack(indices.data<long>().Select(i => tensor(tokenizer.Encode(Caption(tags[i], captions)))).ToArray());

                var noisy = schedule.AddNoise(clean, noise, timesteps);
                var target = schedule.Velocity(clean, noise, timesteps);
                var predicted = unet.call(noisy.to(dtype), timesteps, text.call(ids)).to(ScalarType.Float32);

                // min(SNR, 5)/(SNR + 1) is min-SNR-γ for v-prediction (Hang et al., arXiv:2303.09556); the constant keeps the noisiest steps alive.
                var snr = schedule.Snr(timesteps);
                var weight = (snr.Within(0, 5) / snr.Plus(1)).Plus(0.25);
                return (weight.to(ScalarType.Float32) * (predicted - target).Squared().mean([1, 2, 3])).mean();
            },
            progress, cancellation);
        optimizer.UseEvaluationWeights();
    }

    /// <summary>A caption of some tags, the first of which is the style.</summary>
    internal static string Caption(string[] tags, Random random)
    {
        if (random.NextDouble() < CaptionDropout)
        {
            return "";
        }

        var kept = tags.Skip(1).Where(_ => random.NextDouble() >= TagDropout).ToArray();
        random.Shuffle(kept);
        List<string> caption = random.NextDouble() < TagDropout ? [.. kept] : [tags[0], .. kept];
        if (random.NextDouble() < StrangeWord)
        {
            var letters = Enumerable.Range(0, random.Next(3, 7)).Select(_ => (char)('a' + random.Next(26)));
            caption.Insert(random.Next(caption.Count + 1), string.Concat(letters) + (random.Next(3) == 0 ? " style" : ""));
        }

        return string.Join(", ", caption);
    }
}

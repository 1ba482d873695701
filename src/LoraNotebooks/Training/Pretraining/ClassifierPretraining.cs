using LoraNotebooks.Models.Vision;
using LoraNotebooks.Tensors;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn.functional;

namespace LoraNotebooks.Training.Pretraining;

/// <summary>Trains the <see cref="TagClassifier"/> that scores what the base draws; it never sees a generated picture.</summary>
public static class ClassifierPretraining
{
    private const int Batch = 64;

    /// <summary>Trains on the corpus and writes the classifier.</summary>
    /// <param name="config">Names the corpus, the state folder and the seed.</param>
    /// <param name="folder">The folder to write.</param>
    /// <param name="steps">The steps. Default 2,500 of 64 portraits.</param>
    /// <param name="progress">Receives numbers.</param>
    /// <param name="cancellation">Stops after the present step; run again to go on.</param>
    public static void Run(
        PretrainingConfig config, string folder, int steps = 2_500, IProgress<PretrainingStep>? progress = null, CancellationToken cancellation = default)
    {
        using var scope = NewDisposeScope();
        Directory.CreateDirectory(config.StateFolder);
        using var corpus = PortraitCorpus.Load(config.Corpus, "train", "vae", "character");
        string[] tags =
        [
            .. corpus.Tags.SelectMany(static t => t).CountBy(static t => t)
                .Where(static t => t.Value >= 40).Select(static t => t.Key).Order(StringComparer.Ordinal),
        ];
        var index = tags.Select(static (tag, i) => (tag, i)).ToDictionary(static p => p.tag, static p => p.i);
        var labels = new float[corpus.Count * tags.Length];
        for (var i = 0; i < corpus.Count; i++)
        {
            foreach (var tag in corpus.Tags[i].Where(index.ContainsKey))
            {
                labels[i * tags.Length + index[tag]] = 1;
            }
        }

        var truth = tensor(labels, [corpus.Count, tags.Length]);
        manual_seed(config.Seed + 2);
        var model = new TagClassifier(tags);
        using var optimizer = PretrainingLoop.NewOptimizer([.. model.parameters()], 0.995);
        PretrainingLoop.Run("classifier", config, optimizer, steps, Batch, 2e-3,
            (_, generator) =>
            {
                var indices = randint(0, corpus.Count, [Batch], dtype: ScalarType.Int64, generator: generator);
                var pixels = Disturb(corpus.Batch(indices), generator);
                return binary_cross_entropy_with_logits(model.call(pixels), truth.index_select(0, indices));
            },
            progress, cancellation);
        optimizer.UseEvaluationWeights();
        model.Save(folder);
    }

    /// <summary>Mirrors, shifts, blurs and adds noise, so that the classifier judges content and not the clean edges of a rendered portrait.</summary>
    internal static Tensor Disturb(Tensor pixels, Generator generator)
    {
        var count = pixels.shape[0];
        var mirrored = where(rand([count, 1, 1, 1], generator: generator).IsBelow(0.5), pixels.flip(3), pixels);
        var shift = randint(-3, 4, [2], dtype: ScalarType.Int64, generator: generator).data<long>().ToArray();
        var shifted = pad(mirrored, [3, 3, 3, 3], PaddingModes.Replicate).narrow(2, 3 + shift[0], 64).narrow(3, 3 + shift[1], 64);
        var blurred = avg_pool2d(pad(shifted, [1, 1, 1, 1], PaddingModes.Replicate), 3, stride: 1);
        var amount = rand([count, 1, 1, 1], generator: generator);
        return shifted.Plus(amount * (blurred - shifted))
            .Plus(rand([count, 1, 1, 1], generator: generator).Times(0.1) * randn(pixels.shape, generator: generator));
    }
}
